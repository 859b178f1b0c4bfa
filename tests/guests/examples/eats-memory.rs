//! Takes a MiB at a time until none is given.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};

guests::guest!(
    "tool-permission",
    EatsMemory,
    "eats-memory",
    "Takes all memory there is."
);

struct EatsMemory;

impl Guest for EatsMemory {
    fn decide(_task: Task, _call: ToolCall) -> Result<Decision, String> {
        loop {
            std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
}
