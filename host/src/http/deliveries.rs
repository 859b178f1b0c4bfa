//! `GET /tasks/{id}/deliveries`, `POST …/replay`: how a task's report reached its receiver, and once
//! more.
//!
//! Whoever may see and cancel a task may have its report sent again.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::id::Id;
use super::problem::{DELIVERY_NOT_FOUND, DELIVERY_UNDER_WAY, Problem};
use super::tasks;
use crate::access::Caller;
use crate::app::App;
use crate::task::{Record, javascript};
use crate::webhook::{self, Attempt, Entry, Replayed};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/tasks/{id}/deliveries", get(list))
        .route("/tasks/{id}/deliveries/replay", post(replay))
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let record = tasks::record(&app, &caller, &id).await?;
    expect_callback(&record)?;
    Ok(Json(match kept(&app, &record).await? {
        Some(entry) => view(&app, &entry),
        None => json!({ "state": "pending", "attempts": [] }),
    }))
}

async fn replay(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Response, Problem> {
    let record = tasks::record(&app, &caller, &id).await?;
    expect_callback(&record)?;
    match webhook::replay(app.tasks.bucket().as_ref(), &id).await? {
        Replayed::Begun(entry) => {
            app.courier.nudge();
            tracing::info!(task = %id, "a report is sent again");
            Ok((StatusCode::ACCEPTED, Json(view(&app, &entry))).into_response())
        }
        Replayed::UnderWay => {
            let error = "The report is being sent just now; wait for the end of that attempt";
            Err(Problem::new(DELIVERY_UNDER_WAY, error))
        }
        Replayed::Absent => {
            kept(&app, &record).await?;
            let error = "The task is not over: its report is sent once it is";
            Err(Problem::new(DELIVERY_UNDER_WAY, error))
        }
    }
}

/// The delivery; none where the task is not over, or just about to be.
async fn kept(app: &App, record: &Record) -> Result<Option<Entry>, Problem> {
    let (bucket, id) = (app.tasks.bucket().as_ref(), &record.task_id);
    let found = webhook::delivery(bucket, id).await?;
    // The payload of a task goes only once its report is in the outbox.
    let settled = record.status.is_terminal() && app.tasks.payload(id).await?.is_none();
    if found.is_some() || !settled {
        return Ok(found);
    }
    let found = webhook::delivery(bucket, id).await?;
    found.map(Some).ok_or_else(gone)
}

fn expect_callback(record: &Record) -> Result<(), Problem> {
    let error = "The task has no callbackUrl, so there is nothing to deliver";
    let problem = || Problem::new(DELIVERY_NOT_FOUND, error);
    record
        .callback_url
        .is_some()
        .then_some(())
        .ok_or_else(problem)
}

fn gone() -> Problem {
    let error = "A report is kept for seven days after its delivery, and for a while after it was \
                 given up; this one is gone";
    Problem::new(DELIVERY_NOT_FOUND, error)
}

/// Without URL and body: both may hold what is not everybody's.
fn view(app: &App, entry: &Entry) -> Value {
    let attempts: Vec<Value> = entry.history.iter().map(attempt).collect();
    let mut view = json!({
        "webhookId": entry.id,
        "state": entry.state,
        "replays": entry.replays,
        "attempts": attempts,
    });
    let next = entry.next_attempt(&app.config.webhook.retry, Timestamp::now());
    if let Some(fields) = view.as_object_mut() {
        fields.extend(next.map(|at| ("nextAttemptAt".to_owned(), json!(javascript(at)))));
        let delivered = entry.delivered_at;
        fields.extend(delivered.map(|at| ("deliveredAt".to_owned(), json!(javascript(at)))));
    }
    view
}

fn attempt(attempt: &Attempt) -> Value {
    let mut view = json!({ "number": attempt.number, "at": javascript(attempt.at) });
    if let Some(fields) = view.as_object_mut() {
        let took = attempt.duration_ms;
        fields.extend(took.map(|took| ("durationMs".to_owned(), json!(took))));
        let status = attempt.status_code;
        fields.extend(status.map(|status| ("statusCode".to_owned(), json!(status))));
        let error = attempt.error.as_ref();
        fields.extend(error.map(|error| ("error".to_owned(), json!(error))));
    }
    view
}
