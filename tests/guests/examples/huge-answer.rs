//! Denies with a reason of 8 MiB.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};

guests::guest!(
    "tool-permission",
    HugeAnswer,
    "huge-answer",
    "Denies with a reason of 8 MiB."
);

struct HugeAnswer;

impl Guest for HugeAnswer {
    fn decide(_task: Task, _call: ToolCall) -> Result<Decision, String> {
        Ok(Decision::Deny("x".repeat(8 << 20)))
    }
}
