"""Judges requests before anything is stored or started. See README.md."""
import json

from wit_world import exports
from wit_world.exports.about import Description
from wit_world.exports.validation import Rejection, Verdict_Accept, Verdict_Reject
from wit_world.imports import host

MOST = 10000
SCHEMA = {
    "type": "object",
    "properties": {
        "max_prompt_length": {"type": "integer", "minimum": 1, "default": MOST}
    },
    "additionalProperties": False,
}


class About(exports.About):
    def describe(self):
        return Description(
            name="{{name}}",
            version="0.1.0",
            summary="Refuses prompts that are too long.",
            settings_schema=json.dumps(SCHEMA),
        )

    def check_settings(self, settings):
        """What the schema cannot say: raise Err("words") to refuse settings."""


class Validation(exports.Validation):
    def validate(self, task):
        most = json.loads(host.settings()).get("max_prompt_length", MOST)
        if len(task.prompt()) <= most:
            return Verdict_Accept()
        host.cite("max_prompt_length")
        return Verdict_Reject(
            Rejection(
                code="prompt-too-long",
                message=f"The prompt may have at most {most} characters.",
                field="prompt",
                details=None,
            )
        )
