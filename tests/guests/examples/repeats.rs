//! Says what it was asked about in every way that it can: logs the call's input, cites it, and denies
//! with it.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};
use gatehouse::plugin::host::{self, Level};

guests::guest!(
    "tool-permission",
    Repeats,
    "repeats",
    "Repeats the input of every tool call."
);

struct Repeats;

impl Guest for Repeats {
    fn decide(_task: Task, call: ToolCall) -> Result<Decision, String> {
        let input = call.input();
        host::log(Level::Warn, &input);
        host::cite(&input);
        Ok(Decision::Deny(input))
    }
}
