//! The component: the contract's types on one side, this crate's on the other.

use crate::{Call, Lists, SCHEMA, Settings};
use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::tool_policy::{self, Decision, Task, ToolCall};
use gatehouse::plugin::host;

wit_bindgen::generate!({ path: "../../wit", world: "tool-permission" });

/// With the stack and the data it fills two pages, which a call's instance is given anyway.
#[global_allocator]
static ALLOCATOR: arena::Arena<{ 32 << 10 }> = arena::Arena::new();

struct ToolRules;

impl about::Guest for ToolRules {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Enforces allowedTools, disallowedTools and the operator's rules on every tool call.".into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::check(&settings)
    }
}

impl tool_policy::Guest for ToolRules {
    fn decide(task: Task, call: ToolCall) -> Result<Decision, String> {
        let settings = Settings::read(&host::settings())?;
        let lists = Lists {
            allowed_tools: task.allowed_tools(),
            disallowed_tools: task.disallowed_tools(),
        };
        let call = Call {
            tool: call.tool(),
            input: call.input(),
            workspace: call.workspace(),
            cwd: call.cwd(),
            path: call.path(),
            real_path: call.real_path(),
            mcp_server: call.mcp_server(),
        };
        let ruling = crate::decide(&settings, &lists, &call)?;
        if let Some(rule) = &ruling.cited {
            host::cite(rule);
        }
        Ok(match ruling.decision {
            crate::Decision::Abstain => Decision::Abstain,
            crate::Decision::Allow => Decision::Allow,
            crate::Decision::Deny(reason) => Decision::Deny(reason),
            crate::Decision::Ask(reason) => Decision::Ask(reason),
        })
    }
}

export!(ToolRules);
