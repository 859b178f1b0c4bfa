//! `GET /tasks/status`: what this gateway has to do for the caller's tenant.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::problem::Problem;
use crate::access::Caller;
use crate::app::App;
use crate::task::{Record, javascript};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/tasks/status", get(status))
}

async fn status(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    let status = app.dispatcher.status(caller.only_tenant()).await?;
    let tasks: Vec<Value> = status.tasks.iter().map(view).collect();
    Ok(Json(json!({
        "active": tasks.len(),
        "max": status.max,
        "running": status.running,
        "waiting": status.waiting,
        "tasks": tasks,
    })))
}

fn view(record: &Record) -> Value {
    json!({
        "taskId": record.task_id,
        "type": record.execution_mode,
        "executionName": execution_name(record),
        "startedAt": javascript(record.started_at.unwrap_or(record.created_at)),
        "cancelling": record.cancel.is_some(),
        "status": record.status,
        "phase": record.phase,
    })
}

/// The name of the job; callers expect a text here also while there is none yet.
pub(super) fn execution_name(record: &Record) -> String {
    record
        .execution_name
        .clone()
        .unwrap_or_else(|| format!("tasks/{}", record.task_id))
}
