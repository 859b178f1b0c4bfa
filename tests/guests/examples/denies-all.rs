//! Denies every tool call with the tool's name in the reason.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};

guests::guest!(
    "tool-permission",
    DeniesAll,
    "denies-all",
    "Denies every tool call."
);

struct DeniesAll;

impl Guest for DeniesAll {
    fn decide(_task: Task, call: ToolCall) -> Result<Decision, String> {
        Ok(Decision::Deny(format!(
            "{} is denied like everything else",
            call.tool()
        )))
    }
}
