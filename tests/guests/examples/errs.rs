//! Answers every call with an error.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};

guests::guest!("tool-permission", Errs, "errs", "Answers with an error.");

struct Errs;

impl Guest for Errs {
    fn decide(_task: Task, _call: ToolCall) -> Result<Decision, String> {
        Err("this guest always errs".into())
    }
}
