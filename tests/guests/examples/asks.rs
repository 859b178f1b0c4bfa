//! Wants a person to decide every call.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};

guests::guest!(
    "tool-permission",
    Asks,
    "asks",
    "Asks about every tool call."
);

struct Asks;

impl Guest for Asks {
    fn decide(_task: Task, call: ToolCall) -> Result<Decision, String> {
        Ok(Decision::Ask(format!(
            "a person must look at {}",
            call.tool()
        )))
    }
}
