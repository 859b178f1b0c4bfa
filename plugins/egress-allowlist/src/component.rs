//! The component: the contract's types on one side, this crate's on the other.

use crate::{Call, SCHEMA, Settings};
use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::tool_policy::{self, Decision, Task, ToolCall};
use gatehouse::plugin::host;

wit_bindgen::generate!({ path: "../../wit", world: "tool-permission" });

/// With the stack and the data it fills two pages, which a call's instance is given anyway.
#[global_allocator]
static ALLOCATOR: arena::Arena<{ 32 << 10 }> = arena::Arena::new();

struct EgressAllowlist;

impl about::Guest for EgressAllowlist {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Lets WebFetch, MCP tools and command lines reach only the hosts of a list."
                .into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::check(&settings)
    }
}

impl tool_policy::Guest for EgressAllowlist {
    fn decide(_task: Task, call: ToolCall) -> Result<Decision, String> {
        let settings = Settings::read(&host::settings())?;
        let call = Call {
            tool: call.tool(),
            is_mcp: call.mcp_server().is_some(),
            input: call.input(),
            workspace: call.workspace(),
            cwd: call.cwd(),
        };
        Ok(match crate::decide(&settings, &call) {
            None => Decision::Abstain,
            Some(denial) => {
                host::cite(&denial.cited);
                Decision::Deny(denial.reason)
            }
        })
    }
}

export!(EgressAllowlist);
