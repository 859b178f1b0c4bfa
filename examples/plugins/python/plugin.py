"""Denies command lines that download something and run a shell, and writes outside of the workspace."""
import json
import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description
from wit_world.exports.tool_policy import Decision_Abstain, Decision_Deny
from wit_world.imports import host

DEFAULTS = {
    "downloaders": ["curl", "wget"],
    "shells": ["sh", "bash", "dash", "zsh"],
    "writable": [],
}
SCHEMA = {
    "type": "object",
    "properties": {
        name: {"type": "array", "items": {"type": "string"}, "default": default}
        for name, default in DEFAULTS.items()
    },
    "additionalProperties": False,
}
# Words before a command that are not it.
BEFORE = set("sudo env exec command nohup time xargs { ! if then else do while until".split())


def read(text):
    found = DEFAULTS | json.loads(text)
    for path in found["writable"]:
        if not path.startswith("/"):
            raise Err(f"writable: `{path}` is not absolute")
    return found


class About(exports.About):
    def describe(self):
        return Description(
            name="workspace-guard",
            version="0.1.0",
            summary="Denies downloads that are run unseen, and writes outside of the workspace.",
            settings_schema=json.dumps(SCHEMA),
        )

    def check_settings(self, settings):
        read(settings)


class ToolPolicy(exports.ToolPolicy):
    def decide(self, task, call):
        settings = read(host.settings())
        tool = call.tool()
        if tool == "Bash":
            line = json.loads(call.input()).get("command")
            if not isinstance(line, str):
                raise Err("a Bash call without a command")
            return judge_line(settings, line)
        if tool in ("Write", "Edit", "MultiEdit", "NotebookEdit"):
            path = call.real_path()
            if path is None:
                raise Err("a write without a path")
            return judge_write(settings, call.workspace(), path)
        return Decision_Abstain()


def judge_line(settings, line):
    names = [command(piece) for piece in re.split(r"[|;&()`\n]", line)]
    downloader = next((name for name in names if name in settings["downloaders"]), None)
    shell = next((name for name in names if name in settings["shells"]), None)
    if downloader is None or shell is None:
        return Decision_Abstain()
    host.cite("downloads")
    return Decision_Deny(
        f"`{downloader}` and `{shell}` in one command line: save the download and look at it before it is run."
    )


def command(piece):
    """The name of the command that a piece of a command line begins with."""
    for word in re.split(r"[ \t\r]", piece):
        word = word.strip("\"'")
        if word and not word.startswith("-") and "=" not in word and word not in BEFORE:
            return word.rsplit("/", 1)[-1]
    return None


def judge_write(settings, workspace, path):
    roots = [root.rstrip("/") for root in [workspace, *settings["writable"]]]
    if any(path == root or path.startswith(root + "/") for root in roots):
        return Decision_Abstain()
    host.cite("writes")
    return Decision_Deny(f"`{path}` lies outside of the workspace.")
