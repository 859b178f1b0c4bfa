//! Replaces the input of the tools that its settings name, e.g. `{"Bash": {"command": "true"}}`;
//! has no opinion about others.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};
use gatehouse::plugin::host;
use serde_json::Value;

guests::guest!(
    "tool-permission",
    Rewrites,
    "rewrites",
    "Replaces inputs as its settings say."
);

struct Rewrites;

impl Guest for Rewrites {
    fn decide(_task: Task, call: ToolCall) -> Result<Decision, String> {
        let settings: Value =
            serde_json::from_str(&host::settings()).map_err(|error| error.to_string())?;
        Ok(match settings.get(call.tool()) {
            Some(input) => Decision::Rewrite(input.to_string()),
            None => Decision::Abstain,
        })
    }
}
