//! Just enough of the Messages API to have the CLI call one tool: the model of the gate's canary.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The id of the call that the model makes.
pub(super) const CALL: &str = "toolu_gateproof0001";
/// The CLI's requests are some hundred KiB.
const MOST_BODY: usize = 16 << 20;

/// Listens on loopback until dropped.
pub(super) struct ScriptedModel {
    address: SocketAddr,
    seen: Arc<Seen>,
    listening: JoinHandle<()>,
}

/// What the model was sent.
#[derive(Default)]
struct Seen {
    request: AtomicBool,
    denial: AtomicBool,
}

impl ScriptedModel {
    /// A model that asks for `touch marker` and is content with whatever comes of it.
    pub(super) async fn start(marker: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let command: Arc<str> = format!("touch '{}'", marker.display()).into();
        let listening = tokio::spawn(listen(listener, seen.clone(), command));
        Ok(Self {
            address,
            seen,
            listening,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether the CLI came as far as asking the model.
    pub(super) fn was_asked(&self) -> bool {
        self.seen.request.load(Ordering::Relaxed)
    }

    /// Whether it was told that its call was denied.
    pub(super) fn was_told_of_denial(&self) -> bool {
        self.seen.denial.load(Ordering::Relaxed)
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, seen: Arc<Seen>, command: Arc<str>) {
    // Connections end with the listener: they are its children, not tasks of their own.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, command) = (seen.clone(), command.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let (seen, command) = (seen.clone(), command.clone());
                async move { Ok::<_, Infallible>(answer(request, &seen, &command).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            if let Err(error) = connection
                .serve_connection(TokioIo::new(stream), service)
                .await
            {
                tracing::debug!(%error, "a connection of the gate's canary broke off");
            }
        });
    }
}

async fn answer(request: Request<Incoming>, seen: &Seen, command: &str) -> Response<Full<Bytes>> {
    if request.method() != Method::POST || request.uri().path() != "/v1/messages" {
        return respond(
            StatusCode::NOT_FOUND,
            "application/json",
            json!({"type": "error"}).to_string(),
        );
    }
    let body = Limited::new(request.into_body(), MOST_BODY).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return respond(
            StatusCode::BAD_REQUEST,
            "application/json",
            json!({"type": "error"}).to_string(),
        );
    };
    seen.request.store(true, Ordering::Relaxed);
    let message = match result_of_call(&body) {
        Some(result) => {
            let is_denied = result.get("is_error").and_then(Value::as_bool) == Some(true);
            seen.denial.fetch_or(is_denied, Ordering::Relaxed);
            text("Ready.")
        }
        None => call(command),
    };
    respond(StatusCode::OK, "text/event-stream", message)
}

fn respond(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(media_type),
    );
    response
}

/// The `tool_result` of our call, once the CLI sends it.
fn result_of_call(body: &Value) -> Option<&Value> {
    let messages = body.get("messages")?.as_array()?;
    let blocks = messages
        .iter()
        .filter_map(|message| message.get("content")?.as_array())
        .flatten();
    blocks
        .into_iter()
        .find(|block| block.get("tool_use_id").and_then(Value::as_str) == Some(CALL))
}

fn call(command: &str) -> String {
    let block = json!({"type": "tool_use", "id": CALL, "name": "Bash", "input": {}});
    let input = json!({"command": command, "description": "Prove the gate"}).to_string();
    message(
        &block,
        &json!({"type": "input_json_delta", "partial_json": input}),
        "tool_use",
    )
}

fn text(text: &str) -> String {
    message(
        &json!({"type": "text", "text": ""}),
        &json!({"type": "text_delta", "text": text}),
        "end_turn",
    )
}

/// The events of a message that consists of one block.
fn message(block: &Value, delta: &Value, stop_reason: &str) -> String {
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let events = [
        json!({"type": "message_start", "message": {
            "id": "msg_gateproof", "type": "message", "role": "assistant", "model": "gate-proof", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage,
        }}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": null},
               "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ];
    events
        .iter()
        .map(|event| {
            let name = event
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or_default();
            format!("event: {name}\ndata: {event}\n\n")
        })
        .collect()
}
