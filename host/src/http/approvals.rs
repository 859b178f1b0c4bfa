//! `GET /tasks/{id}/approvals`, `POST …/{call}`: tool calls that plugins want a person to decide, and
//! that person's word.
//!
//! Everybody who may see a task sees what it asks. Only the operator answers: a policy that asks
//! restricts whoever sends tasks, and who could answer for themselves would not be restricted.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::access::Operator;
use super::id::{Id, param};
use super::problem::{
    APPROVAL_DECIDED, APPROVAL_NOT_FOUND, INVALID_DECISION, INVALID_QUERY, Problem, TASK_OVER,
};
use super::{body, tasks};
use crate::access::Caller;
use crate::app::App;
use crate::redact::REDACTED;
use crate::task::{Answered, Approval, ApprovalState, CallId, Decided};

/// Approvals in one answer.
const PAGE: usize = 20;
const MAX_PAGE: usize = 100;
/// Bytes of a reason; it is shown to the agent.
const REASON: usize = 2000;
/// What surrounds an input in the body, and how long all of it may take to come.
const AROUND_INPUT: u64 = 16 << 10;
const BODY_TIME: Duration = Duration::from_secs(10);

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/tasks/{id}/approvals", get(list))
        .route("/tasks/{id}/approvals/{call}", post(decide))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: Option<ApprovalState>,
    limit: Option<usize>,
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let error = "Expected ?state= pending, allowed, denied or expired and ?limit= from 1 to 100";
    let invalid = || Problem::new(INVALID_QUERY, error);
    let Query(wanted) = wanted.map_err(|_| invalid())?;
    let limit = wanted.limit.unwrap_or(PAGE);
    if limit == 0 || limit > MAX_PAGE {
        return Err(invalid());
    }
    let record = tasks::record(&app, &caller, &id).await?;
    if record.status.is_terminal() {
        // The end of the task closes what is open, a moment after it; whoever saw the end sees that too.
        app.tasks.expire_approvals(&id).await?;
    }
    let mut approvals = app.tasks.approvals(&id).await?;
    approvals.retain(|approval| wanted.state.is_none_or(|state| approval.state == state));
    approvals.truncate(limit);
    Ok(Json(json!({ "approvals": approvals })))
}

/// `{call}` of the path; what is no name is nobody's.
struct Call(CallId);

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let call = param(parts, state, "call").await;
        call.and_then(|call| call.parse().ok())
            .map(Self)
            .ok_or_else(unknown)
    }
}

fn unknown() -> Problem {
    let error = "Nobody was asked about such a call of this task";
    Problem::new(APPROVAL_NOT_FOUND, error)
}

/// What a person says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    decision: Word,
    #[serde(default, deserialize_with = "present")]
    reason: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    input: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Allow,
    Deny,
}

/// `null` is a value, and a wrong one: whoever sends it did not mean to leave the member out.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

async fn decide(
    State(app): State<Arc<App>>,
    operator: Operator,
    caller: Caller,
    Id(id): Id,
    Call(call): Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Approval>, Problem> {
    body::expect_json(&headers)?;
    let largest = app.config.approvals.max_input;
    let bytes = body::read(body, largest.saturating_add(AROUND_INPUT), BODY_TIME).await?;
    let (state, answer) = read(&bytes, largest, operator.name())?;
    let record = tasks::record(&app, &caller, &id).await?;
    let asked = app.tasks.approval(&id, &call).await?;
    let asked = asked.ok_or_else(unknown)?;
    if record.status.is_terminal() {
        let problem = Problem::new(TASK_OVER, "Task is over: the call will not run any more");
        return Err(problem
            .with("taskId", id.as_str())
            .with("status", record.status.as_str()));
    }
    if let Some(input) = &answer.input
        && asked.redacted
        && input.to_string().contains(REDACTED)
    {
        let error = "The changed input still holds \"[REDACTED]\", which would run as it stands";
        return Err(Problem::new(INVALID_DECISION, error).at("input"));
    }
    // The job is about to close it, or is stopped and will.
    if asked.state == ApprovalState::Pending && asked.expires_at <= Timestamp::now() {
        return Err(decided(ApprovalState::Expired));
    }
    match app
        .tasks
        .decide_approval(&id, &call, state, &answer)
        .await?
    {
        Decided::Now(approval) => {
            tracing::info!(task = %id, call = %call, ?state, by = answer.by, "a person decided a tool call");
            Ok(Json(approval))
        }
        Decided::Before(approval) => Err(decided(approval.state)),
        Decided::Unknown => Err(unknown()),
    }
}

fn decided(state: ApprovalState) -> Problem {
    let error = "This call is decided already; the first answer counts";
    Problem::new(APPROVAL_DECIDED, error).with("state", json!(state))
}

fn read(bytes: &[u8], largest: u64, by: &str) -> Result<(ApprovalState, Answered), Problem> {
    let said: Said = serde_json::from_slice(bytes).map_err(|error| {
        let expected =
            "Expected {\"decision\": \"allow\" | \"deny\", \"reason\"?: text, \"input\"?: object}";
        Problem::new(INVALID_DECISION, expected).because(error)
    })?;
    let wrong = |field: &str, expected: String| Problem::new(INVALID_DECISION, expected).at(field);
    let reason = match said.reason {
        None => None,
        Some(Value::String(text)) if !text.trim().is_empty() && text.len() <= REASON => Some(text),
        Some(_) => {
            let expected = format!("reason must be text of 1 to {REASON} bytes");
            return Err(wrong("reason", expected));
        }
    };
    match (said.decision, &said.input) {
        (_, None) => {}
        (Word::Deny, Some(_)) => {
            let expected = "input goes with \"allow\": it is what runs instead";
            return Err(wrong("input", expected.to_owned()));
        }
        (Word::Allow, Some(input)) => {
            if !input.is_object() || input.to_string().len() as u64 > largest {
                let expected = format!(
                    "input must be an object of at most {largest} bytes, as the tool takes it"
                );
                return Err(wrong("input", expected));
            }
        }
    }
    let state = match said.decision {
        Word::Allow => ApprovalState::Allowed,
        Word::Deny => ApprovalState::Denied,
    };
    let answer = Answered {
        by: by.to_owned(),
        at: Timestamp::now(),
        reason,
        input: said.input,
    };
    Ok((state, answer))
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

    fn said(body: &str) -> Result<(ApprovalState, Answered), Problem> {
        read(body.as_bytes(), 64, "operator")
    }

    #[test]
    fn what_a_person_may_say() {
        let (state, answer) = said(r#"{"decision": "deny", "reason": "not today"}"#).unwrap();
        assert_eq!(
            (state, answer.reason.as_deref(), answer.by.as_str()),
            (ApprovalState::Denied, Some("not today"), "operator")
        );
        let (state, answer) = said(r#"{"decision":"allow","input":{"command":"ls"}}"#).unwrap();
        assert_eq!(
            (state, answer.input),
            (ApprovalState::Allowed, Some(json!({"command": "ls"})))
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let long = "x".repeat(REASON + 1);
        let large = "x".repeat(64);
        for body in [
            String::new(),
            "{}".into(),
            "[]".into(),
            r#"{"decision": "Allow"}"#.into(),
            r#"{"decision": "ask"}"#.into(),
            r#"{"decision": true}"#.into(),
            r#"{"decision": "allow", "decision": "deny"}"#.into(),
            r#"{"decision": "allow", "by": "me"}"#.into(),
            r#"{"decision": "allow", "reason": ""}"#.into(),
            r#"{"decision": "allow", "reason": null}"#.into(),
            r#"{"decision": "allow", "reason": 1}"#.into(),
            format!(r#"{{"decision": "deny", "reason": "{long}"}}"#),
            r#"{"decision": "allow", "input": null}"#.into(),
            r#"{"decision": "allow", "input": "ls"}"#.into(),
            r#"{"decision": "deny", "input": {"command": "ls"}}"#.into(),
            format!(r#"{{"decision": "allow", "input": {{"command": "{large}"}}}}"#),
        ] {
            assert!(said(&body).is_err(), "{body}");
        }
    }
}
