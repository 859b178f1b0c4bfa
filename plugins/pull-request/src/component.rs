//! The component: the contract's types on one side, this crate's on the other.

use crate::{Failure, Http, Options, Request, Response, SCHEMA, Settings};
use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::post_action::{self, Outcome, Task};
use gatehouse::plugin::{host, http};

wit_bindgen::generate!({ path: "../../wit", world: "post-execution" });

struct PullRequest;

impl about::Guest for PullRequest {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary:
                "Opens a pull request at GitHub, or a merge request at GitLab, for what was pushed."
                    .into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::check(&settings)
    }
}

impl post_action::Guest for PullRequest {
    fn check_options(options: String) -> Result<(), String> {
        Options::read(&options).map(|_| ())
    }

    fn run(task: Task, outcome: Outcome, options: String) -> Result<String, String> {
        let settings = Settings::read(&host::settings())?;
        let options = Options::read(&options)?;
        let result = outcome.result_of(&settings.action);
        let task = crate::Task {
            id: task.id(),
            created_at: task.created_at(),
            repository: task.git_repo(),
        };
        let value = crate::run(&Host, &settings, &options, &task, result.as_deref())?;
        Ok(value.to_string())
    }
}

struct Host;

impl Http for Host {
    fn send(&self, request: &Request) -> Result<Response, Failure> {
        let sent = http::send(&http::Request {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            timeout_ms: None,
        });
        match sent {
            Ok(response) => Ok(Response {
                status: response.status,
                body: response.body,
            }),
            Err(failure) => Err(Failure {
                code: failure.code,
                message: failure.message,
            }),
        }
    }
}

export!(PullRequest);
