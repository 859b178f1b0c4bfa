//! Logs and cites as much as it can, then has no opinion: 10,000 lines of 1 KiB, one of 8 MiB, and a
//! cited rule of 1 MiB.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};
use gatehouse::plugin::host::{self, Level};

guests::guest!(
    "tool-permission",
    FloodsLog,
    "floods-log",
    "Floods the log."
);

struct FloodsLog;

impl Guest for FloodsLog {
    fn decide(_task: Task, _call: ToolCall) -> Result<Decision, String> {
        let line = "flood ".repeat(170);
        for _ in 0..10_000 {
            host::log(Level::Warn, &line);
        }
        host::log(Level::Error, &"x".repeat(8 << 20));
        host::cite(&"y".repeat(1 << 20));
        Ok(Decision::Abstain)
    }
}
