//! The three worlds in Rust. What they share is generated once and named by the others through
//! `with:`, so that one implementation serves all of them.

pub(super) mod validator {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "validator",
        imports: { default: trappable },
        exports: { default: async },
        with: { "gatehouse:plugin/tasks.task": crate::wasm::imports::TaskHandle },
    });
}

pub(super) mod tool_permission {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tool-permission",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "gatehouse:plugin/tasks": super::validator::gatehouse::plugin::tasks,
            "gatehouse:plugin/host": super::validator::gatehouse::plugin::host,
            "gatehouse:plugin/tool-calls.tool-call": crate::wasm::imports::CallHandle,
        },
    });
}

pub(super) mod post_execution {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "post-execution",
        imports: {
            "gatehouse:plugin/workspace": async | trappable,
            "gatehouse:plugin/artifacts": async | trappable,
            "gatehouse:plugin/git": async | trappable,
            "gatehouse:plugin/http": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "gatehouse:plugin/tasks": super::validator::gatehouse::plugin::tasks,
            "gatehouse:plugin/host": super::validator::gatehouse::plugin::host,
            "gatehouse:plugin/failures": super::tool_permission::gatehouse::plugin::failures,
            "gatehouse:plugin/outcomes.outcome": crate::wasm::imports::OutcomeHandle,
        },
    });
}

pub(super) use post_execution::gatehouse::plugin::{artifacts, git, http, outcomes, workspace};
pub(super) use tool_permission::gatehouse::plugin::{failures, task_state, tool_calls};
pub(super) use validator::gatehouse::plugin::{host, tasks};

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its own name; the operator's is the manifest's.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of its settings.
    pub settings_schema: String,
}

macro_rules! description_of {
    ($($world:ident),*) => {$(
        impl From<$world::exports::gatehouse::plugin::about::Description> for Description {
            fn from(from: $world::exports::gatehouse::plugin::about::Description) -> Self {
                Self {
                    name: from.name,
                    version: from.version,
                    summary: from.summary,
                    settings_schema: from.settings_schema,
                }
            }
        }
    )*};
}
description_of!(validator, tool_permission, post_execution);

/// What a validator says; texts are JSON as the guest wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing against it.
    Accept,
    /// A JSON Merge Patch.
    Amend(String),
    /// It is refused.
    Reject(Refusal),
}

/// A validator's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable and short.
    pub code: String,
    /// What was expected.
    pub message: String,
    /// The field at fault.
    pub field: Option<String>,
    /// A JSON object.
    pub details: Option<String>,
}

impl From<validator::exports::gatehouse::plugin::validation::Verdict> for Answer {
    fn from(from: validator::exports::gatehouse::plugin::validation::Verdict) -> Self {
        use validator::exports::gatehouse::plugin::validation::Verdict;
        match from {
            Verdict::Accept => Self::Accept,
            Verdict::Amend(patch) => Self::Amend(patch),
            Verdict::Reject(rejection) => Self::Reject(Refusal {
                code: rejection.code,
                message: rejection.message,
                field: rejection.field,
                details: rejection.details,
            }),
        }
    }
}

/// What a tool-permission plugin says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// None.
    Abstain,
    /// It may run.
    Allow,
    /// It may run with this input, JSON as the guest wrote it.
    Rewrite(String),
    /// It may not, with the reason for the agent.
    Deny(String),
    /// A person shall decide, with the reason.
    Ask(String),
}

impl From<tool_permission::exports::gatehouse::plugin::tool_policy::Decision> for Opinion {
    fn from(from: tool_permission::exports::gatehouse::plugin::tool_policy::Decision) -> Self {
        use tool_permission::exports::gatehouse::plugin::tool_policy::Decision;
        match from {
            Decision::Abstain => Self::Abstain,
            Decision::Allow => Self::Allow,
            Decision::Rewrite(input) => Self::Rewrite(input),
            Decision::Deny(reason) => Self::Deny(reason),
            Decision::Ask(reason) => Self::Ask(reason),
        }
    }
}
