//! `GET /tasks/{id}/artifacts`, `…/artifacts/{path}`: files that post-execution actions kept.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::id::{Id, param};
use super::problem::{ARTIFACT_NOT_FOUND, Problem};
use super::tasks;
use crate::app::App;
use crate::bucket::BucketError;
use crate::task::names;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/tasks/{id}/artifacts", get(list))
        .route("/tasks/{id}/artifacts/{*path}", get(download))
}

async fn list(State(app): State<Arc<App>>, Id(id): Id) -> Result<Json<Value>, Problem> {
    tasks::record(&app, &id).await?;
    let prefix = names::artifacts(&id);
    // No task keeps more.
    let most = usize::try_from(app.config.job.max_artifacts).unwrap_or(usize::MAX);
    let found = app.tasks.bucket().list(&prefix, None, most).await?;
    let artifacts: Vec<Value> = found
        .iter()
        .filter_map(|entry| {
            Some(json!({ "path": entry.name.strip_prefix(&prefix)?, "sizeBytes": entry.size }))
        })
        .collect();
    Ok(Json(json!({ "artifacts": artifacts })))
}

async fn download(
    State(app): State<Arc<App>>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(ARTIFACT_NOT_FOUND, "The task kept no file of this name");
    let (mut parts, _) = request.into_parts();
    let path = param(&mut parts, &app, "path").await.ok_or_else(unknown)?;
    // The bucket refuses names that lead elsewhere.
    let found = match app
        .tasks
        .bucket()
        .download(&format!("{}{path}", names::artifacts(&id)))
        .await
    {
        Err(BucketError::InvalidName(_)) => None,
        found => found?,
    };
    let (size, reader) = found.ok_or_else(unknown)?;
    // An agent wrote it: a browser must not take it for a page of ours.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(reader))).into_response())
}
