//! Reports what it is told of the task's end: `{"status", "reason", "createdAt", "options",
//! "resultOf": {name: result}}` for each name in `ask` of its options; `{"fail": true}` makes it fail.
//! Options with a member `refuse` are refused.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::post_action::{Guest, Outcome, Task};
use serde_json::{Map, Value, json};

guests::guest!(
    "post-execution",
    ReportsOutcome,
    "reports-outcome",
    "Reports what it is told of the task's end."
);

struct ReportsOutcome;

impl Guest for ReportsOutcome {
    fn check_options(options: String) -> Result<(), String> {
        let options: Value = serde_json::from_str(&options).map_err(|error| error.to_string())?;
        match options.get("refuse") {
            Some(_) => Err("refuse: as you wish".into()),
            None => Ok(()),
        }
    }

    fn run(task: Task, outcome: Outcome, options: String) -> Result<String, String> {
        let options: Value = serde_json::from_str(&options).map_err(|error| error.to_string())?;
        if options.get("fail").is_some() {
            return Err("failed as it was told".into());
        }
        let names = options.get("ask").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        let results = names.map(|name| {
            let result = outcome.result_of(name).map(|text| serde_json::from_str(&text));
            let result = result.transpose().ok().flatten().unwrap_or(Value::Null);
            (name.to_owned(), result)
        });
        Ok(json!({
            "status": outcome.status(),
            "reason": outcome.reason(),
            "createdAt": task.created_at(),
            "resultOf": Value::Object(results.collect::<Map<_, _>>()),
            "options": options,
        })
        .to_string())
    }
}
