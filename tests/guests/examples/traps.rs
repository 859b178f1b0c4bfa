//! Traps in `decide`.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};

guests::guest!("tool-permission", Traps, "traps", "Traps in decide.");

struct Traps;

impl Guest for Traps {
    fn decide(_task: Task, _call: ToolCall) -> Result<Decision, String> {
        std::process::abort()
    }
}
