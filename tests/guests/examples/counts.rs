//! Lets a task call Bash `{"limit": N}` times (2 where settings say nothing), by task-state.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};
use gatehouse::plugin::{host, task_state};
use serde_json::Value;

guests::guest!(
    "tool-permission",
    Counts,
    "counts",
    "Limits the number of Bash calls in a task."
);

struct Counts;

impl Guest for Counts {
    fn decide(_task: Task, call: ToolCall) -> Result<Decision, String> {
        if call.tool() != "Bash" {
            return Ok(Decision::Abstain);
        }
        let settings: Value =
            serde_json::from_str(&host::settings()).map_err(|error| error.to_string())?;
        let limit = settings.get("limit").and_then(Value::as_i64).unwrap_or(2);
        let count = task_state::add("bash", 1).map_err(|failure| failure.message)?;
        Ok(if count > limit {
            Decision::Deny(format!("Bash call {count} of at most {limit}"))
        } else {
            Decision::Abstain
        })
    }
}
