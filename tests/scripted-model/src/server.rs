//! The endpoints.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use crate::message::{Message, unique};
use crate::recorded::{Recorded, Requests};
use crate::request::Request;
use crate::scenario::{ApiError, Cut, Scenarios, Turn};

/// As the real API.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// Failures of which the number is kept; more begin anew.
const MAX_FAILURES: usize = 10_000;

#[derive(Clone)]
struct Model {
    scenarios: Arc<Scenarios>,
    expect_key: Option<Arc<str>>,
    requests: Requests,
    /// How often each request was failed, by its hash.
    failures: Arc<Mutex<HashMap<u64, u32>>>,
}

pub(crate) fn router(
    scenarios: Scenarios,
    expect_key: Option<String>,
    requests: Requests,
) -> Router {
    let model = Model {
        scenarios: Arc::new(scenarios),
        expect_key: expect_key.map(Arc::from),
        requests,
        failures: Arc::default(),
    };
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .fallback(|| async { failure(404, "not_found_error", "Not found") })
        .layer(from_fn_with_state(model.clone(), record_and_authenticate))
        .route(
            "/",
            get(|| async { Json(json!({"scripted_model": "no AI answers here"})) }),
        )
        .route(
            "/requests",
            get(|State(model): State<Model>| async move { Json(model.requests.all()) }),
        )
        .layer(from_fn(say_what_this_is))
        .layer(DefaultBodyLimit::disable())
        .with_state(model)
}

async fn say_what_this_is(request: HttpRequest, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("scripted-model"));
    headers.insert(
        "x-scripted-model",
        HeaderValue::from_static("no AI answers here"),
    );
    if let Ok(id) = HeaderValue::try_from(unique("req_scripted")) {
        headers.insert("request-id", id);
    }
    response
}

async fn record_and_authenticate(
    State(model): State<Model>,
    request: HttpRequest,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return failure(413, "request_too_large", "Request exceeds the maximum size");
    };
    model.requests.add(Recorded {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: joined(&parts.headers),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    });
    if parts.method != axum::http::Method::HEAD {
        match key(&parts.headers) {
            None => return failure(401, "authentication_error", "x-api-key header is required"),
            Some(key)
                if model
                    .expect_key
                    .as_deref()
                    .is_some_and(|expected| expected != key) =>
            {
                return failure(401, "authentication_error", "invalid x-api-key");
            }
            Some(_) => {}
        }
    }
    next.run(HttpRequest::from_parts(parts, Body::from(body)))
        .await
}

async fn messages(State(model): State<Model>, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return failure(
            400,
            "invalid_request_error",
            "The request body is not valid JSON",
        );
    };
    let request = Request(&body);
    let turn = request.turn(&model.scenarios);
    tokio::time::sleep(Duration::from_millis(turn.delay_ms)).await;
    if turn.hang {
        std::future::pending::<()>().await;
    }
    if let Some(error) = model.failure_due(&body, &turn) {
        return error.answer();
    }
    let message = Message::new(&request, &turn);
    if request.streams() {
        streamed(message.events(), turn.cut)
    } else {
        Json(message.whole()).into_response()
    }
}

async fn count_tokens(Json(body): Json<Value>) -> Response {
    Json(json!({"input_tokens": Request(&body).tokens()})).into_response()
}

/// Sends the events one by one. A cut shows as an error of the body, which breaks the connection.
fn streamed(mut events: Vec<String>, cut: Option<Cut>) -> Response {
    let whole = events.len();
    match cut {
        None => {}
        Some(Cut::BeforeStream) => events.clear(),
        Some(Cut::MidStream) => events.truncate(whole / 2),
    }
    let end = stream::iter(cut).then(|_| async {
        // What stands before is sent out first: an error drops what is still in the buffer.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut by the scenario"))
    });
    let events = stream::iter(events).map(Ok).chain(end);
    let kind = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")];
    (kind, Body::from_stream(events)).into_response()
}

impl Model {
    /// The turn's error, unless it was shown as often as it is to be.
    fn failure_due(&self, body: &Value, turn: &Turn) -> Option<ApiError> {
        let error = turn.error.clone()?;
        let Some(times) = turn.times else {
            return Some(error);
        };
        let mut hasher = DefaultHasher::new();
        // The messages alone: other fields may differ between a request and its repetition.
        body.get("messages").map(Value::to_string).hash(&mut hasher);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_FAILURES {
            failures.clear();
        }
        let shown = failures.entry(hasher.finish()).or_insert(0);
        *shown = shown.saturating_add(1);
        (*shown <= times).then_some(error)
    }
}

impl ApiError {
    fn answer(&self) -> Response {
        let mut response = failure(self.status, &self.kind, &self.message);
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn failure(status: u16, kind: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let error = json!({"type": kind, "message": message});
    let body = json!({"type": "error", "error": error, "request_id": unique("req_scripted")});
    (status, Json(body)).into_response()
}

/// The credential, in either form; an empty one is none.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let key = text(HeaderName::from_static("x-api-key")).or(bearer)?;
    (!key.is_empty()).then_some(key)
}

fn joined(headers: &HeaderMap) -> std::collections::BTreeMap<String, String> {
    let mut all = std::collections::BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.as_str().to_owned())
            .and_modify(|values| *values = format!("{values}, {value}"))
            .or_insert_with(|| value.into_owned());
    }
    all
}
