"""Decides on every tool call of an agent before it runs. See README.md."""
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description
from wit_world.exports.tool_policy import Decision_Abstain, Decision_Deny
from wit_world.imports import host

DENIED = ["curl", "wget"]
SCHEMA = {
    "type": "object",
    "properties": {
        "denied_commands": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "default": DENIED,
        }
    },
    "additionalProperties": False,
}


class About(exports.About):
    def describe(self):
        return Description(
            name="{{name}}",
            version="0.1.0",
            summary="Denies Bash calls that begin with one of some commands.",
            settings_schema=json.dumps(SCHEMA),
        )

    def check_settings(self, settings):
        """What the schema cannot say: raise Err("words") to refuse settings."""


class ToolPolicy(exports.ToolPolicy):
    def decide(self, task, call):
        if call.tool() != "Bash":
            return Decision_Abstain()
        command = json.loads(call.input()).get("command")
        if not isinstance(command, str):
            # Counts as a denial, unless the operator says otherwise.
            raise Err("a Bash call without a command")
        denied = json.loads(host.settings()).get("denied_commands", DENIED)
        first = command.split()[0] if command.split() else ""
        if first not in denied:
            return Decision_Abstain()
        host.log(host.Level.INFO, f"denied {first}")
        host.cite("denied_commands")
        return Decision_Deny(f"`{first}` is not allowed here.")
