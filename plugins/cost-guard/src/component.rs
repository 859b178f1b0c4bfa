//! The component: the contract's types on one side, this crate's on the other.

use serde::de::DeserializeOwned;

use crate::{Request, SCHEMA, Settings};
use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::validation::{self, Rejection, Task, Verdict};
use gatehouse::plugin::host;

wit_bindgen::generate!({ path: "../../wit", world: "validator" });

struct CostGuard;

impl about::Guest for CostGuard {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Limits turns, time, money and models by caller, by lowering or by rejecting."
                .into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::check(&settings)
    }
}

impl validation::Guest for CostGuard {
    fn validate(task: Task) -> Result<Verdict, String> {
        let settings = Settings::read(&host::settings())?;
        let request = Request {
            caller: task.caller(),
            model: task.model(),
            fallback_model: field(&task, "fallbackModel")?,
            subagents: field(&task, "subagents")?.unwrap_or_default(),
            slash_commands: field(&task, "slashCommands")?.unwrap_or_default(),
            max_turns: task.max_turns(),
            timeout_minutes: task.timeout_minutes(),
            max_budget_usd: field(&task, "maxBudgetUsd")?,
        };
        let (rule, verdict) = crate::validate(&settings, &request);
        if let Some(rule) = rule {
            host::cite(&rule);
        }
        Ok(match verdict {
            crate::Verdict::Accept => Verdict::Accept,
            crate::Verdict::Amend(patch) => Verdict::Amend(patch.to_string()),
            crate::Verdict::Reject(rejection) => Verdict::Reject(Rejection {
                code: rejection.code.into(),
                message: rejection.message,
                field: rejection.field.map(Into::into),
                details: None,
            }),
        })
    }
}

/// A field that has no getter of its own; none where the request lacks it.
fn field<T: DeserializeOwned>(task: &Task, name: &str) -> Result<Option<T>, String> {
    let Some(text) = task.field(name) else {
        return Ok(None);
    };
    serde_json::from_str::<Option<T>>(&text).map_err(|error| format!("{name}: {error}"))
}

export!(CostGuard);
