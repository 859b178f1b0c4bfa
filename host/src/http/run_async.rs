//! `POST /run-async`: takes a task and answers at once; the report comes by webhook.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::problem::Problem;
use super::stream::X_TASK_ID;
use super::{status, submit};
use crate::access::Caller;
use crate::app::App;
use crate::task::{Mode, Record, javascript};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/run-async", post(run_async))
}

async fn run_async(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let accepted = submit::accept(&app, caller, request, Mode::Async).await?;
    let id = &accepted.record.task_id;
    let headers = [
        (header::LOCATION, format!("/tasks/{id}")),
        (X_TASK_ID, id.to_string()),
    ];
    Ok((StatusCode::ACCEPTED, headers, Json(accepted.answer)).into_response())
}

/// Of a task that was just accepted.
pub(super) fn answer(record: &Record) -> Value {
    let mut body = json!({
        "taskId": record.task_id,
        "status": record.status,
        "logsPath": record.logs_path,
        "createdAt": javascript(record.created_at),
        "executionName": status::execution_name(record),
    });
    if let Some(fields) = body.as_object_mut()
        && !record.warnings.is_empty()
    {
        fields.insert("warnings".to_owned(), json!(record.warnings));
    }
    body
}
