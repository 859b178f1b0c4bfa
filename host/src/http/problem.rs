//! Errors as callers see them: `{"error", "code", "field"?, "details"?, "requestId"}`.
//!
//! `error` is a sentence for a person, `code` is for programs and never changes its meaning; each has
//! its page `docs/errors/CODE.md`. What went wrong inside is for the log, under the same request id.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tracing::Instrument as _;

use crate::admission::Refusal;
use crate::bucket::BucketError;
use crate::envelope::EnvelopeError;
use crate::launch::{Full, QueueFull};
use crate::task::TaskError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A caller's own request id is taken up to this length.
const MAX_REQUEST_ID: usize = 128;

macro_rules! codes {
    ($($name:ident = $status:ident $code:literal),* $(,)?) => {
        $(pub(super) const $name: Code = Code { status: StatusCode::$status, text: $code };)*
        /// Every code that the API itself answers with; validators and `admission` have further ones.
        pub const CODES: &[&str] = &[$($code),*];
    };
}

/// A stable code and the status that goes with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code {
    status: StatusCode,
    text: &'static str,
}

codes! {
    NOT_FOUND = NOT_FOUND "not-found",
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method-not-allowed",
    UNAUTHORIZED = UNAUTHORIZED "unauthorized",
    ISSUER_UNAVAILABLE = SERVICE_UNAVAILABLE "issuer-unavailable",
    TOO_MANY_FAILURES = TOO_MANY_REQUESTS "too-many-failures",
    TOO_MANY_REQUESTS = TOO_MANY_REQUESTS "too-many-requests",
    TOO_MANY_STREAMS = TOO_MANY_REQUESTS "too-many-streams",
    TOO_MANY_TASKS = TOO_MANY_REQUESTS "too-many-tasks",
    OPERATORS_ONLY = FORBIDDEN "operators-only",
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type",
    BODY_TOO_LARGE = PAYLOAD_TOO_LARGE "body-too-large",
    BODY_TIMEOUT = REQUEST_TIMEOUT "body-timeout",
    BODY_BROKEN = BAD_REQUEST "body-broken",
    CALLBACK_FORBIDDEN = BAD_REQUEST "callback-forbidden",
    REPOSITORY_FORBIDDEN = BAD_REQUEST "repository-forbidden",
    INVALID_QUERY = BAD_REQUEST "invalid-query",
    INVALID_TASK_ID = BAD_REQUEST "invalid-task-id",
    TASK_NOT_FOUND = NOT_FOUND "task-not-found",
    TASK_OVER = CONFLICT "task-over",
    TASK_EXISTS = CONFLICT "task-exists",
    INVALID_IDEMPOTENCY_KEY = BAD_REQUEST "invalid-idempotency-key",
    IDEMPOTENCY_CONFLICT = CONFLICT "idempotency-conflict",
    REQUEST_UNDER_WAY = SERVICE_UNAVAILABLE "request-under-way",
    INVALID_DECISION = BAD_REQUEST "invalid-decision",
    APPROVAL_NOT_FOUND = NOT_FOUND "approval-not-found",
    APPROVAL_DECIDED = CONFLICT "approval-decided",
    DELIVERY_NOT_FOUND = NOT_FOUND "delivery-not-found",
    DELIVERY_UNDER_WAY = CONFLICT "delivery-under-way",
    INVALID_RANGE = RANGE_NOT_SATISFIABLE "invalid-range",
    ARTIFACT_NOT_FOUND = NOT_FOUND "artifact-not-found",
    QUEUE_FULL = TOO_MANY_REQUESTS "queue-full",
    INVALID_CHANGE = BAD_REQUEST "invalid-change",
    PLUGINS_REFUSED = UNPROCESSABLE_ENTITY "plugins-refused",
    PLUGINS_CHANGED = CONFLICT "plugins-changed",
    PLUGIN_NOT_FOUND = NOT_FOUND "no-such-plugin",
    REVISION_NOT_FOUND = NOT_FOUND "revision-not-found",
    COMPONENT_NOT_FOUND = NOT_FOUND "component-not-found",
    INPUTS_NOT_KEPT = NOT_FOUND "inputs-not-kept",
    PLUGINS_NOT_READY = SERVICE_UNAVAILABLE "plugins-not-ready",
    STORAGE_UNAVAILABLE = SERVICE_UNAVAILABLE "storage-unavailable",
    KEYS_UNAVAILABLE = SERVICE_UNAVAILABLE "keys-unavailable",
    SHUTTING_DOWN = SERVICE_UNAVAILABLE "shutting-down",
    RECORD_DAMAGED = INTERNAL_SERVER_ERROR "record-damaged",
    INTERNAL = INTERNAL_SERVER_ERROR "internal",
}

/// An answer that is an error.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    error: Cow<'static, str>,
    field: Option<String>,
    details: Option<Value>,
    retry_after: Option<Duration>,
    /// Further fields that callers know from before.
    more: Map<String, Value>,
    /// For the log only.
    cause: Option<String>,
}

impl Problem {
    pub(super) fn new(code: Code, error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: code.status,
            code: Cow::Borrowed(code.text),
            error: error.into(),
            field: None,
            details: None,
            retry_after: None,
            more: Map::new(),
            cause: None,
        }
    }

    /// A fault of ours; the caller learns the request id, the log the cause.
    pub(super) fn internal(cause: impl ToString) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..Self::new(INTERNAL, "Internal server error")
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The field of the request that is at fault.
    pub(super) fn at(self, field: &str) -> Self {
        Self {
            field: Some(field.to_owned()),
            ..self
        }
    }

    /// When it is worth another try.
    pub(super) fn after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    pub(super) fn because(self, cause: impl ToString) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..self
        }
    }

    fn body(self, request_id: &str) -> Value {
        let mut body = Map::new();
        body.insert("error".to_owned(), json!(self.error));
        body.insert("code".to_owned(), json!(self.code));
        body.extend(self.field.map(|field| ("field".to_owned(), json!(field))));
        body.extend(self.details.map(|details| ("details".to_owned(), details)));
        body.extend(self.more);
        body.insert("requestId".to_owned(), json!(request_id));
        Value::Object(body)
    }
}

/// Carries the problem as far as [`render`], which knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Outermost of all layers: gives every answer its `X-Request-Id` and problems their body.
pub(super) async fn render(request: Request, next: Next) -> Response {
    let id = request_id(request.headers().get(REQUEST_ID));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", trace = tracing::field::Empty);
    if let Some(trace) = trace(request.headers()) {
        span.record("trace", trace);
    }
    let mut response = next.run(request).instrument(span).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if let Some(cause) = &problem.cause {
            tracing::warn!(request = id, %method, path, code = %problem.code, cause, "a request failed");
        }
        response = answer(problem, response, &id);
    }
    tracing::debug!(request = id, %method, path, status = response.status().as_u16(), "answered");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The trace that a request belongs to: the second part of `traceparent` (W3C Trace Context).
fn trace(headers: &HeaderMap) -> Option<&str> {
    let parent = headers.get("traceparent")?.to_str().ok()?;
    let trace = parent.split('-').nth(1)?;
    let hex = trace.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex && trace.len() == 32).then_some(trace)
}

/// The problem's body under the headers that stand already, `Allow` for one.
fn answer(problem: Problem, from: Response, id: &str) -> Response {
    let retry_after = problem.retry_after;
    let status = problem.status;
    let mut response = (status, Json(problem.body(id))).into_response();
    for (name, value) in from.headers() {
        if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
            response.headers_mut().insert(name, value.clone());
        }
    }
    if let Some(wait) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Rounded up: whoever comes back then does not come too early.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The caller's own id where it is a harmless word, else one of ours.
fn request_id(given: Option<&HeaderValue>) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    given
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(harmless))
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

pub(super) async fn not_found() -> Problem {
    Problem::new(NOT_FOUND, "There is nothing at this path")
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(METHOD_NOT_ALLOWED, "This path does not take this method")
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST),
            code: Cow::Owned(refusal.code),
            error: Cow::Owned(refusal.message),
            field: refusal.field,
            details: refusal.details,
            retry_after: None,
            more: Map::new(),
            cause: refusal.detail,
        }
    }
}

impl From<QueueFull> for Problem {
    fn from(full: QueueFull) -> Self {
        let problem = match full.of {
            Full::Queue => Self::new(
                QUEUE_FULL,
                "Every place in the queue is taken; try again later",
            ),
            Full::Caller => Self::new(
                TOO_MANY_TASKS,
                "You have as many unfinished tasks as one caller may; wait for the end of one",
            ),
            Full::Tenant => Self::new(
                TOO_MANY_TASKS,
                "Your tenant has as many unfinished tasks as it may; wait for the end of one",
            ),
        };
        Self {
            retry_after: Some(full.retry_after),
            ..problem
        }
    }
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Taken(_) => {
                Self::new(TASK_EXISTS, "A task with this taskId exists already").at("taskId")
            }
            TaskError::Unknown(id) => unknown_task(id.as_str()),
            TaskError::Damaged { ref id, .. } => Self::new(
                RECORD_DAMAGED,
                "The record of this task is damaged; if the task was not over, it is ended within a minute",
            )
            .with("taskId", id.as_str())
            .because(error),
            TaskError::Bucket(error) => error.into(),
        }
    }
}

impl From<BucketError> for Problem {
    fn from(error: BucketError) -> Self {
        Self::new(
            STORAGE_UNAVAILABLE,
            "The storage cannot be used right now; try again later",
        )
        .because(error)
    }
}

impl From<EnvelopeError> for Problem {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::TooLarge(_) => {
                Self::new(BODY_TOO_LARGE, "The request is too large to be sealed")
            }
            EnvelopeError::KeyService(_) => Self::new(
                KEYS_UNAVAILABLE,
                "The request cannot be sealed right now; try again later",
            )
            .because(error),
            EnvelopeError::Refused(_) => Self::internal(error),
        }
    }
}

/// No task has this id.
pub(super) fn unknown_task(id: &str) -> Problem {
    Problem::new(TASK_NOT_FOUND, "Task not found").with("taskId", id)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    #[test]
    fn a_refusal_keeps_its_own_code_field_and_details_and_hides_its_cause() {
        let problem = Problem::from(Refusal {
            status: 403,
            code: "model-not-allowed".to_owned(),
            field: Some("model".to_owned()),
            message: "Only small models here".to_owned(),
            details: Some(json!({ "allowed": ["haiku"] })),
            detail: Some("hidden".to_owned()),
        });
        assert_eq!(problem.status, StatusCode::FORBIDDEN);
        assert_eq!(
            problem.body("r1"),
            json!({
                "error": "Only small models here", "code": "model-not-allowed", "field": "model",
                "details": { "allowed": ["haiku"] }, "requestId": "r1",
            })
        );
    }

    #[test]
    fn a_request_id_is_taken_over_only_where_it_is_harmless() {
        let given = |text: &'static str| request_id(Some(&HeaderValue::from_static(text)));
        assert_eq!(given("abc-1.2:3_4"), "abc-1.2:3_4");
        assert_eq!(given("a b").len(), 36);
        assert_eq!(given("").len(), 36);
        assert_eq!(
            request_id(Some(&HeaderValue::from_static("<script>"))).len(),
            36
        );
        assert_eq!(
            request_id(Some(&HeaderValue::from_str(&"a".repeat(129)).unwrap())).len(),
            36
        );
        assert_eq!(request_id(None).len(), 36);
    }

    #[test]
    fn waits_are_rounded_up_to_whole_seconds() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
    }
}
