//! The rule of `tests/peers` as a component: all tools but three are denied, and so is a Bash command with
//! `sudo` or `rm -rf` in it.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::tool_policy::{Decision, Guest, Task, ToolCall};

guests::guest!(
    "tool-permission",
    SameRule,
    "same-rule",
    "Denies all tools but three, and two words."
);

struct SameRule;

impl Guest for SameRule {
    fn decide(_task: Task, call: ToolCall) -> Result<Decision, String> {
        let tool = call.tool();
        if !["Write", "Read", "Bash"].contains(&&*tool) {
            return Ok(Decision::Deny("not allowed".into()));
        }
        if tool == "Bash" {
            let input: serde_json::Value =
                serde_json::from_str(&call.input()).map_err(|error| error.to_string())?;
            let command = input["command"].as_str().ok_or("no command")?;
            if command.contains("sudo") || command.contains("rm -rf") {
                return Ok(Decision::Deny("a word that is denied".into()));
            }
        }
        Ok(Decision::Allow)
    }
}
