//! A client of Gatehouse. It needs the crates axum, base64, futures, hex, hmac, reqwest (`stream`, `json`),
//! serde_json, sha2, tokio and uuid.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::{Router, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Gateway {
    url: String,
    api_key: Option<String>,
    client: Client,
}

impl Gateway {
    fn from_environment() -> Self {
        let url = std::env::var("GATEHOUSE_URL");
        Self {
            url: url.unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned()),
            api_key: std::env::var("GATEHOUSE_API_KEY").ok(),
            client: Client::new(),
        }
    }

    /// Sends until there is an answer; what the gateway refuses for good is not sent again.
    async fn ask(&self, request: RequestBuilder) -> Result<Response> {
        let request = match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let again = request
                .try_clone()
                .ok_or("a body that cannot be repeated")?;
            let failure: Box<dyn Error> = match again.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let status = response.status();
                    let problem: Value = response.json().await?;
                    let failure = format!("{status}: {}", problem["error"]);
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        return Err(failure.into());
                    }
                    failure.into()
                }
                Err(error) => error.into(),
            };
            if attempt == 5 {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_secs(attempt)).await;
        }
    }

    /// Starts a task. A key of its own makes the request safe to repeat: it starts one.
    async fn start(&self, path: &str, prompt: &str, callback: Option<&str>) -> Result<Response> {
        let api_key = std::env::var("ANTHROPIC_API_KEY")?;
        let body = json!({"prompt": prompt, "anthropicApiKey": api_key, "callbackUrl": callback});
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .header("idempotency-key", uuid::Uuid::new_v4().to_string())
            .json(&body);
        self.ask(request).await
    }

    /// Runs a task and returns its report. Lines of the agent go to `each`, every one once.
    async fn run(&self, prompt: &str, each: impl Fn(&Value)) -> Result<Value> {
        let mut response = self.start("/run", prompt, None).await?;
        let id = response.headers()["x-task-id"].to_str()?.to_owned();
        let mut last = "0".to_owned();
        loop {
            let mut events = Events::of(response);
            while let Some(event) = events.next().await {
                let data: Value = serde_json::from_str(&event.data)?;
                if event.name == "done" {
                    return Ok(data);
                }
                if let Some(number) = event.id {
                    last = number;
                    each(&data);
                }
            }
            // Without `done` it was the connection that ended, not the task.
            eprintln!("reconnecting after event {last}");
            tokio::time::sleep(Duration::from_millis(500)).await;
            let request = self.client.get(format!("{}/tasks/{id}/events", self.url));
            response = self.ask(request.header("last-event-id", &last)).await?;
        }
    }

    /// Starts a task, waits for its webhook and returns the report.
    async fn run_async(&self, prompt: &str) -> Result<Value> {
        let secret = std::env::var("CLOUDRUN_CALLBACK_SECRET")?;
        let (received, mut reports) = mpsc::channel(1);
        let receive = move |headers: HeaderMap, body: Bytes| async move {
            // Verified as it came, and only then parsed.
            if !is_genuine(&secret, &headers, &body) {
                return StatusCode::UNAUTHORIZED;
            }
            match serde_json::from_slice::<Value>(&body) {
                Ok(report) => {
                    let _ = received.try_send(report);
                    StatusCode::NO_CONTENT
                }
                Err(_) => StatusCode::BAD_REQUEST,
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let server = axum::serve(listener, Router::new().route("/", post(receive)));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let server = tokio::spawn(server.with_graceful_shutdown(stopped).into_future());
        eprintln!("receiving at {url}");

        let accepted = self.start("/run-async", prompt, Some(&url)).await?;
        let accepted: Value = accepted.json().await?;
        eprintln!(
            "started {}",
            accepted["taskId"].as_str().unwrap_or_default()
        );
        let report = reports.recv().await.ok_or("the receiver ended")?;
        // The answer to the webhook goes out first.
        drop(stop);
        server.await??;
        Ok(report)
    }

    async fn cancel(&self, id: &str) -> Result<()> {
        let request = self.client.post(format!("{}/cancel/{id}", self.url));
        let answer: Value = self.ask(request).await?.json().await?;
        println!("{}", answer["message"].as_str().unwrap_or_default());
        Ok(())
    }
}

struct Event {
    name: String,
    id: Option<String>,
    data: String,
}

/// The events of a stream.
struct Events {
    bytes: futures::stream::BoxStream<'static, reqwest::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Events {
    fn of(response: Response) -> Self {
        let bytes = response.bytes_stream().boxed();
        Self {
            bytes,
            buffer: Vec::new(),
        }
    }

    /// None when the connection ends, in whatever way.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let mut event = Event {
                    name: "message".to_owned(),
                    id: None,
                    data: String::new(),
                };
                for line in String::from_utf8_lossy(&block).lines() {
                    match line.split_once(": ") {
                        Some(("event", value)) => event.name = value.to_owned(),
                        Some(("id", value)) => event.id = Some(value.to_owned()),
                        Some(("data", value)) => event.data.push_str(value),
                        _ => {}
                    }
                }
                if !event.data.is_empty() {
                    return Some(event);
                }
            }
            self.buffer
                .extend_from_slice(&self.bytes.next().await?.ok()?);
        }
    }
}

fn is_genuine(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|it| it.to_str().ok())
            .unwrap_or("")
    };
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let fresh = at
        .parse::<u64>()
        .is_ok_and(|at| now.as_secs().abs_diff(at) <= 300);
    // `verify_slice` takes as long for what differs early as for what differs late.
    let verify = |key: &[u8], signed: String, given: &[u8]| {
        Hmac::<Sha256>::new_from_slice(key).is_ok_and(|mut mac| {
            mac.update(signed.as_bytes());
            mac.update(body);
            mac.verify_slice(given).is_ok()
        })
    };
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).unwrap_or_default(),
        None => secret.as_bytes().to_vec(),
    };
    // One family is enough; this shows both. During a change of secrets there are several of the first.
    let standard = header("webhook-signature").split(' ').any(|given| {
        let given = given
            .strip_prefix("v1,")
            .and_then(|it| STANDARD.decode(it).ok());
        given.is_some_and(|given| verify(&key, format!("{id}.{at}."), &given))
    });
    let given = header("x-webhook-signature").strip_prefix("sha256=");
    let legacy = given.and_then(|given| hex::decode(given).ok());
    let legacy = legacy.is_some_and(|it| verify(secret.as_bytes(), format!("{at}."), &it));
    fresh && standard && legacy && header("x-webhook-timestamp") == at
}

fn say(line: &Value) {
    let parts = line["message"]["content"].as_array();
    let parts = parts.filter(|_| line["type"] == "assistant");
    for text in parts
        .into_iter()
        .flatten()
        .filter_map(|it| it["text"].as_str())
    {
        println!("{text}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let gateway = Gateway::from_environment();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let report = match arguments[..] {
        ["run", prompt] => gateway.run(prompt, say).await?,
        ["run-async", prompt] => gateway.run_async(prompt).await?,
        ["cancel", id] => return gateway.cancel(id).await,
        _ => {
            eprintln!("usage: example-client run PROMPT | run-async PROMPT | cancel TASK_ID");
            std::process::exit(64);
        }
    };
    let text = |name: &str| report[name].as_str().unwrap_or_default();
    let words = format!("{}{}", text("result"), text("error"));
    println!("{} {}: {words}", text("taskId"), text("status"));
    let code = report["exitCode"]
        .as_i64()
        .and_then(|code| code.try_into().ok());
    std::process::exit(code.unwrap_or(1));
}
