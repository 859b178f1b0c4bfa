//! Acts after the agent's run. See README.md.

use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::post_action::{self, Outcome, Task};
use gatehouse::plugin::workspace;
use serde_json::{Value, json};

wit_bindgen::generate!({ path: "wit", world: "post-execution" });

struct Plugin;

impl about::Guest for Plugin {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Counts the files that match some patterns.".into(),
            settings_schema: r#"{ "type": "object", "additionalProperties": false }"#.into(),
        }
    }

    fn check_settings(_settings: String) -> Result<(), String> {
        Ok(())
    }
}

impl post_action::Guest for Plugin {
    /// Called when the request comes in, so that a mistake is told at once.
    fn check_options(options: String) -> Result<(), String> {
        patterns(&options).map(|_| ())
    }

    /// What is returned is reported under the action's name.
    fn run(_task: Task, _outcome: Outcome, options: String) -> Result<String, String> {
        let files = workspace::find(&patterns(&options)?)
            .map_err(|failure| format!("{} ({})", failure.message, failure.code))?;
        let bytes: u64 = files.iter().map(|file| file.size).sum();
        Ok(json!({ "files": files.len(), "bytes": bytes }).to_string())
    }
}

fn patterns(options: &str) -> Result<Vec<String>, String> {
    let options: Value = serde_json::from_str(options).map_err(|error| error.to_string())?;
    match serde_json::from_value::<Vec<String>>(options["patterns"].clone()) {
        Ok(patterns) if !patterns.is_empty() => Ok(patterns),
        _ => Err(r#"patterns: expected a list of patterns such as "**/*.txt""#.into()),
    }
}

export!(Plugin);
