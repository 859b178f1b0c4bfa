//! Decides on every tool call of an agent before it runs. See README.md.

use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::tool_policy::{self, Decision, Task, ToolCall};
use gatehouse::plugin::host::{self, Level};
use serde_json::Value;

wit_bindgen::generate!({ path: "wit", world: "tool-permission" });

const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "denied_commands": {
      "type": "array",
      "items": { "type": "string", "minLength": 1 },
      "default": ["curl", "wget"]
    }
  },
  "additionalProperties": false
}"#;

struct Plugin;

impl about::Guest for Plugin {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Denies Bash calls that begin with one of some commands.".into(),
            settings_schema: SCHEMA.into(),
        }
    }

    /// What the schema cannot say.
    fn check_settings(settings: String) -> Result<(), String> {
        denied_commands(&settings).map(|_| ())
    }
}

impl tool_policy::Guest for Plugin {
    /// An `Err` counts as a denial, unless the operator says otherwise.
    fn decide(_task: Task, call: ToolCall) -> Result<Decision, String> {
        if call.tool() != "Bash" {
            return Ok(Decision::Abstain);
        }
        let input = json(&call.input())?;
        let command = input["command"].as_str().ok_or("a Bash call without a command")?;
        let first = command.split_whitespace().next().unwrap_or_default();
        if !denied_commands(&host::settings())?.iter().any(|denied| denied == first) {
            return Ok(Decision::Abstain);
        }
        host::log(Level::Info, &format!("denied {first}"));
        host::cite("denied_commands");
        Ok(Decision::Deny(format!("`{first}` is not allowed here.")))
    }
}

/// The setting, or its default.
fn denied_commands(settings: &str) -> Result<Vec<String>, String> {
    match &json(settings)?["denied_commands"] {
        Value::Null => Ok(vec!["curl".into(), "wget".into()]),
        list => serde_json::from_value(list.clone()).map_err(|error| format!("denied_commands: {error}")),
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

export!(Plugin);
