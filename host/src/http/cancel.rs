//! `POST /cancel/{id}`: asks for the end of a task.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::id::Id;
use super::problem::{Problem, TASK_OVER, unknown_task};
use super::tasks;
use crate::access::Caller;
use crate::app::App;
use crate::launch::Cancelled;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/cancel/{id}", post(cancel))
}

/// The words are those that callers know; where the job must end first, the record tells when it has.
async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let cancelled = match tasks::find(&app, &caller, &id).await? {
        Some(_) => app.dispatcher.cancel(&id, "caller").await?,
        None => Cancelled::Unknown,
    };
    match cancelled {
        Cancelled::Requested(_) => Ok(Json(json!({
            "message": "Task cancelled successfully", "taskId": id, "status": "cancelled",
        }))),
        Cancelled::Already(_) => Ok(Json(json!({
            "message": "Task is already being cancelled", "taskId": id, "status": "cancelling",
        }))),
        Cancelled::Over(record) => Err(Problem::new(TASK_OVER, "Task is over")
            .with("message", format!("Task {id} has already ended"))
            .with("taskId", id.as_str())
            .with("status", record.status.as_str())),
        Cancelled::Unknown => Err(unknown_task(id.as_str()).with(
            "message",
            format!("Task {id} is not currently running or has already completed"),
        )),
    }
}
