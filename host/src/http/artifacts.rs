//! `GET /tasks/{id}/artifacts`, `…/artifacts/{path}`: files that post-execution actions kept.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::id::{Id, param};
use super::problem::{ARTIFACT_NOT_FOUND, INVALID_RANGE, Problem};
use super::range::{Range, wanted};
use super::tasks;
use crate::access::Caller;
use crate::app::App;
use crate::bucket::BucketError;
use crate::task::{Record, UploadedFile, names};

/// What an agent wrote must not become a page of ours, whatever its type: it may load nothing, run
/// nothing and counts as of no origin.
const POLICY: &str = "default-src 'none'; sandbox";

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/tasks/{id}/artifacts", get(list))
        .route("/tasks/{id}/artifacts/{*path}", get(download))
}

/// What lies there, with what the record tells of it: type and checksum once the task is over.
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let record = tasks::record(&app, &caller, &id).await?;
    let told = told(&app, &record);
    let prefix = names::artifacts(&id);
    // No task keeps more.
    let most = usize::try_from(app.config.job.max_artifacts).unwrap_or(usize::MAX);
    let found = app.tasks.bucket().list(&prefix, None, most).await?;
    let artifacts: Vec<Value> = found
        .iter()
        .filter_map(|entry| {
            let path = entry.name.strip_prefix(&prefix)?;
            let mut artifact = json!({ "path": path, "sizeBytes": entry.size });
            if let (Some(fields), Some(file)) = (artifact.as_object_mut(), told.get(path)) {
                fields.insert("contentType".to_owned(), json!(file.content_type));
                fields.insert("sha256".to_owned(), json!(file.sha256));
            }
            Some(artifact)
        })
        .collect();
    Ok(Json(json!({ "artifacts": artifacts })))
}

async fn download(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(ARTIFACT_NOT_FOUND, "The task kept no file of this name");
    let (mut parts, _) = request.into_parts();
    let path = param(&mut parts, &app, "path").await.ok_or_else(unknown)?;
    let record = tasks::record(&app, &caller, &id).await?;
    let name = format!("{}{path}", names::artifacts(&id));
    let open = async |from| match app.tasks.bucket().download(&name, from).await {
        // The bucket refuses names that lead elsewhere.
        Err(BucketError::InvalidName(_)) => Ok(None),
        found => found,
    };
    let (size, reader) = open(0).await?.ok_or_else(unknown)?;
    let told = told(&app, &record);
    let told = told
        .get(path.as_str())
        .filter(|file| file.size_bytes == size);

    let mut headers = HeaderMap::new();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    let tag = told.map(|file| format!("\"{}\"", file.sha256));
    set(
        header::CONTENT_TYPE,
        told.map_or("application/octet-stream", |file| &file.content_type),
    );
    set(header::CONTENT_DISPOSITION, &attachment(&path));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::ACCEPT_RANGES, "bytes");
    if let Some(tag) = &tag {
        set(header::ETAG, tag);
    }
    if let Some(tag) = &tag
        && names_tag(&parts.headers, tag)
    {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    match wanted(&parts.headers, tag.as_deref(), size) {
        Range::Whole => {
            set(header::CONTENT_LENGTH, &size.to_string());
            let body = Body::from_stream(ReaderStream::new(reader));
            Ok((headers, body).into_response())
        }
        Range::Part { first, last } => {
            let (_, reader) = open(first).await?.ok_or_else(unknown)?;
            let length = last - first + 1;
            set(header::CONTENT_LENGTH, &length.to_string());
            set(
                header::CONTENT_RANGE,
                &format!("bytes {first}-{last}/{size}"),
            );
            let body = Body::from_stream(ReaderStream::new(reader.take(length)));
            Ok((StatusCode::PARTIAL_CONTENT, headers, body).into_response())
        }
        Range::Nothing => {
            let error = format!("The range begins behind the file's end; it has {size} bytes");
            let problem = Problem::new(INVALID_RANGE, error);
            let about = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            Ok((about, problem).into_response())
        }
    }
}

/// What the record tells of the files, by their paths below the task's place. Of two that were kept
/// under one name the later one lies there.
fn told<'a>(app: &App, record: &'a Record) -> HashMap<&'a str, &'a UploadedFile> {
    let place = app.tasks.bucket().uri(&names::artifacts(&record.task_id));
    let files = record.uploaded_files.iter();
    files
        .filter_map(|file| Some((file.gcs_path.strip_prefix(&place)?, file)))
        .collect()
}

/// Whether `If-None-Match` names the content.
fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    given
        .flat_map(|value| value.split(','))
        .map(|given| given.trim())
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

/// Saved under its own name, whatever characters it has (RFC 6266).
fn attachment(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut value = String::from("attachment; filename*=UTF-8''");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            value.push(char::from(byte));
        } else {
            value.push_str(&format!("%{byte:02X}"));
        }
    }
    value
}
