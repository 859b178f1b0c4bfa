//! Sends one GET to `{"url": …}` of its options and reports `{"status": …}` or
//! `{"refused": "code"}`. Needs a grant `http:…`: without one it must not load, and with one for
//! another host the request must be refused.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::post_action::{Guest, Outcome, Task};
use gatehouse::plugin::http::{self, Request};
use serde_json::{Value, json};

guests::guest!(
    "post-execution",
    UsesHttp,
    "uses-http",
    "Sends one request."
);

struct UsesHttp;

impl Guest for UsesHttp {
    fn check_options(_options: String) -> Result<(), String> {
        Ok(())
    }

    fn run(_task: Task, _outcome: Outcome, options: String) -> Result<String, String> {
        let options: Value = serde_json::from_str(&options).map_err(|error| error.to_string())?;
        let url = options
            .get("url")
            .and_then(Value::as_str)
            .ok_or("options need a url")?
            .to_owned();
        let sent = http::send(&Request {
            method: "GET".into(),
            url,
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: None,
        });
        Ok(match sent {
            Ok(response) => json!({ "status": response.status }),
            Err(failure) => json!({ "refused": failure.code }),
        }
        .to_string())
    }
}
