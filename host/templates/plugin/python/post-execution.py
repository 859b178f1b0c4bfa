"""Acts after the agent's run. See README.md."""
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description
from wit_world.imports import workspace


class About(exports.About):
    def describe(self):
        return Description(
            name="{{name}}",
            version="0.1.0",
            summary="Counts the files that match some patterns.",
            settings_schema=json.dumps({"type": "object", "additionalProperties": False}),
        )

    def check_settings(self, settings):
        """What the schema cannot say: raise Err("words") to refuse settings."""


def patterns(options):
    found = json.loads(options).get("patterns")
    texts = isinstance(found, list) and all(isinstance(item, str) for item in found)
    if not texts or not found:
        raise Err('patterns: expected a list of patterns such as "**/*.txt"')
    return found


class PostAction(exports.PostAction):
    def check_options(self, options):
        """Called when the request comes in, so that a mistake is told at once."""
        patterns(options)

    def run(self, task, outcome, options):
        """What is returned is reported under the action's name."""
        files = workspace.find(patterns(options))
        return json.dumps({"files": len(files), "bytes": sum(file.size for file in files)})
