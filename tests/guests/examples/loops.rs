//! Never comes back from `decide`.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};

guests::guest!(
    "tool-permission",
    Loops,
    "loops",
    "Loops for ever in decide."
);

struct Loops;

impl Guest for Loops {
    fn decide(_task: Task, _call: ToolCall) -> Result<Decision, String> {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}
