//! The component: the contract's types on one side, this crate's on the other.

use crate::{Facts, Options, SCHEMA, Settings};
use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::post_action::{self, Outcome, Task};
use gatehouse::plugin::{host, http};

wit_bindgen::generate!({ path: "../../wit", world: "post-execution" });

struct Notify;

impl about::Guest for Notify {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Tells a webhook of Slack's make how a task ended.".into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::check(&settings)
    }
}

impl post_action::Guest for Notify {
    fn check_options(options: String) -> Result<(), String> {
        Options::read(&options).map(|_| ())
    }

    fn run(task: Task, outcome: Outcome, _options: String) -> Result<String, String> {
        let settings = Settings::read(&host::settings())?;
        let facts = Facts {
            task_id: task.id(),
            caller: task.caller(),
            status: outcome.status(),
            reason: outcome.reason(),
            turns: outcome.turns(),
            cost_usd: outcome.cost_usd(),
            result: outcome.result_text(),
        };
        let message = crate::message(&settings, &facts, |action| outcome.result_of(action))?;
        let request = http::Request {
            method: "POST".into(),
            url: settings.url().into(),
            headers: message.headers,
            body: message.body.into_bytes(),
            timeout_ms: None,
        };
        let response = http::send(&request).map_err(|failure| {
            format!(
                "the webhook was not reached: {} ({})",
                failure.message, failure.code
            )
        })?;
        crate::answered(response.status).map(|value| value.to_string())
    }
}

export!(Notify);
