//! `GET /tasks/{id}/inputs`: what plugins decided on, one line of JSON each, for operators.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::io::ReaderStream;

use super::access::Operator;
use super::id::Id;
use super::problem::{INPUTS_NOT_KEPT, Problem};
use super::tasks;
use crate::access::Caller;
use crate::app::App;
use crate::plugin::inputs_name;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/tasks/{id}/inputs", get(inputs))
}

async fn inputs(
    State(app): State<Arc<App>>,
    _operator: Operator,
    caller: Caller,
    Id(id): Id,
) -> Result<Response, Problem> {
    let record = tasks::record(&app, &caller, &id).await?;
    let name = inputs_name(&id, record.created_at);
    let Some((_, reader)) = app.tasks.bucket().download(&name, 0).await? else {
        let error = "What plugins decided on was not kept for this task, or is kept no more: \
                     plugins.keep_inputs, plugins.inputs_expire";
        return Err(Problem::new(INPUTS_NOT_KEPT, error));
    };
    let body = Body::from_stream(ReaderStream::new(reader));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}
