//! Judges requests before anything is stored or started. See README.md.

use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::validation::{self, Rejection, Task, Verdict};
use gatehouse::plugin::host;
use serde_json::Value;

wit_bindgen::generate!({ path: "wit", world: "validator" });

const SCHEMA: &str = r#"{
  "type": "object",
  "properties": { "max_prompt_length": { "type": "integer", "minimum": 1, "default": 10000 } },
  "additionalProperties": false
}"#;

struct Plugin;

impl about::Guest for Plugin {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Refuses prompts that are too long.".into(),
            settings_schema: SCHEMA.into(),
        }
    }

    /// What the schema cannot say.
    fn check_settings(settings: String) -> Result<(), String> {
        max_prompt_length(&settings).map(|_| ())
    }
}

impl validation::Guest for Plugin {
    /// An `Err` counts as a refusal, unless the operator says otherwise.
    fn validate(task: Task) -> Result<Verdict, String> {
        let most = max_prompt_length(&host::settings())?;
        if task.prompt().chars().count() as u64 <= most {
            return Ok(Verdict::Accept);
        }
        host::cite("max_prompt_length");
        Ok(Verdict::Reject(Rejection {
            code: "prompt-too-long".into(),
            message: format!("The prompt may have at most {most} characters."),
            field: Some("prompt".into()),
            details: None,
        }))
    }
}

/// The setting, or its default.
fn max_prompt_length(settings: &str) -> Result<u64, String> {
    let settings: Value = serde_json::from_str(settings).map_err(|error| error.to_string())?;
    match &settings["max_prompt_length"] {
        Value::Null => Ok(10_000),
        number => number.as_u64().ok_or("max_prompt_length: expected a number".into()),
    }
}

export!(Plugin);
