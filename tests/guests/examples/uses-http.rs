//! Sends what its options say and reports what came of it. Needs a grant `http:…`: without one it must
//! not load, and what is not granted must be refused.
//!
//! Options: `{"send": [{"url", "method"?, "headers"?: [[name, value]], "body"?, "bodyBytes"?,
//! "timeoutMs"?, "times"?}]}`. Its value is a list with one entry each: `{"status", "headers", "body"}`
//! or `{"refused": code, "message"}`; with `times` how often which status or code came.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::post_action::{Guest, Outcome, Task};
use gatehouse::plugin::http::{self, Request};
use serde_json::{Map, Value, json};

guests::guest!(
    "post-execution",
    UsesHttp,
    "uses-http",
    "Sends what its options say."
);

struct UsesHttp;

impl Guest for UsesHttp {
    fn check_options(_options: String) -> Result<(), String> {
        Ok(())
    }

    fn run(_task: Task, _outcome: Outcome, options: String) -> Result<String, String> {
        let options: Value = serde_json::from_str(&options).map_err(|error| error.to_string())?;
        let list = options.get("send").and_then(Value::as_array);
        let got: Vec<Value> = list.ok_or("options need send")?.iter().map(entry).collect();
        Ok(Value::from(got).to_string())
    }
}

fn entry(wanted: &Value) -> Value {
    let Some(times) = wanted.get("times").and_then(Value::as_u64) else {
        return send(wanted);
    };
    let mut counts = Map::new();
    for _ in 0..times {
        let got = send(wanted);
        let outcome = match got.get("refused").and_then(Value::as_str) {
            Some(code) => code.to_owned(),
            None => got["status"].to_string(),
        };
        let count = counts.get(&outcome).and_then(Value::as_u64).unwrap_or(0);
        counts.insert(outcome, (count + 1).into());
    }
    Value::Object(counts)
}

fn send(wanted: &Value) -> Value {
    let text = |name: &str| wanted.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| wanted.get(name).and_then(Value::as_u64);
    let headers = wanted.get("headers").and_then(Value::as_array);
    let pair = |pair: &Value| {
        let part = |n: usize| pair.get(n).and_then(Value::as_str).unwrap_or_default();
        (part(0).to_owned(), part(1).to_owned())
    };
    let method = match text("method") {
        "" => "GET",
        method => method,
    };
    let sent = http::send(&Request {
        method: method.to_owned(),
        url: text("url").to_owned(),
        headers: headers.into_iter().flatten().map(pair).collect(),
        body: match number("bodyBytes") {
            Some(bytes) => vec![b'x'; bytes as usize],
            None => text("body").as_bytes().to_vec(),
        },
        timeout_ms: number("timeoutMs").map(|ms| ms as u32),
    });
    match sent {
        Ok(response) => json!({
            "status": response.status,
            "headers": response.headers,
            "body": String::from_utf8_lossy(&response.body),
        }),
        Err(failure) => json!({ "refused": failure.code, "message": failure.message }),
    }
}
