//! `GET /tasks/{id}/decisions`: what each plugin and group said, one line of JSON each.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::io::ReaderStream;

use super::id::Id;
use super::problem::Problem;
use super::tasks;
use crate::access::Caller;
use crate::app::App;
use crate::task::names;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/tasks/{id}/decisions", get(decisions))
}

async fn decisions(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Response, Problem> {
    tasks::record(&app, &caller, &id).await?;
    // A running task's file grows, so its length is not told.
    let body = match app
        .tasks
        .bucket()
        .download(&names::decisions(&id), 0)
        .await?
    {
        Some((_, reader)) => Body::from_stream(ReaderStream::new(reader)),
        None => Body::empty(),
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}
