//! A task's events as an answer that lasts until the task is over.
//!
//! Pulled by the connection: as long as a reader does not take what it was given, nothing more is read
//! from the log. A slow reader costs one chunk of memory and never holds up the task.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::stream;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::presence;
use super::sse;
use crate::access::StreamPlace;
use crate::app::App;
use crate::task::{Follower, Record, Status, Step, TaskError, javascript, report};

/// The task that an answer is about.
pub(super) const X_TASK_ID: HeaderName = HeaderName::from_static("x-task-id");

/// Tells nginx and its like to pass events on as they come.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Lines that are there already are sent together, up to this size.
const BATCH: usize = 64 * 1024;

/// The events after the given number, as server-sent events, and then the end.
pub(super) fn events(
    app: &App,
    record: &Record,
    after: u64,
    presence: Option<presence::Follower>,
    place: Option<StreamPlace>,
) -> Response {
    let events = Events {
        log: app.tasks.follow(&record.task_id, after),
        first: Some(sse::event("task", &introduction(record))),
        ended: false,
        heartbeat: app.config.server.heartbeat,
        stopping: app.stopping.clone(),
        presence,
        _place: place,
    };
    let frames = stream::unfold(events, |mut events| async move {
        let frame = events.next().await?;
        Some((Ok::<_, Infallible>(frame), events))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (X_ACCEL_BUFFERING, "no"),
        (X_TASK_ID, record.task_id.as_str()),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

/// The lines after the given number that are there now, as they are.
pub(super) fn lines(app: &App, record: &Record, after: u64) -> Response {
    let log = app.tasks.follow(&record.task_id, after);
    let batches = stream::try_unfold(log, |mut log| async move {
        let mut batch = BytesMut::new();
        while batch.len() < BATCH {
            match log.ready().await? {
                Some(Step::Event(event)) => {
                    batch.extend_from_slice(&event.line);
                    batch.extend_from_slice(b"\n");
                }
                Some(Step::End(_)) | None => break,
            }
        }
        // An empty batch is the end: nothing is there.
        Ok::<_, TaskError>((!batch.is_empty()).then(|| (batch.freeze(), log)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (X_TASK_ID, record.task_id.as_str()),
    ];
    (headers, Body::from_stream(batches)).into_response()
}

struct Events {
    log: Follower,
    first: Option<Bytes>,
    ended: bool,
    heartbeat: Duration,
    stopping: CancellationToken,
    presence: Option<presence::Follower>,
    _place: Option<StreamPlace>,
}

impl Events {
    /// What to send next; none when everything was.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.ended {
            return None;
        }
        let step = tokio::select! {
            biased;
            step = self.log.next() => step,
            () = self.stopping.cancelled() => {
                self.ended = true;
                return Some(sse::comment("the gateway restarts: come back with Last-Event-ID"));
            }
            () = tokio::time::sleep(self.heartbeat) => return Some(sse::comment("")),
        };
        let mut batch = BytesMut::new();
        let mut step = step.map(Some);
        loop {
            match step {
                Ok(Some(Step::Event(event))) => {
                    batch.extend_from_slice(&sse::line(event.sequence, &event.line))
                }
                Ok(Some(Step::End(record))) => {
                    end(&record, &mut batch);
                    self.ended = true;
                    if let Some(follower) = self.presence.take() {
                        follower.task_is_over();
                    }
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    // Not the task's fault, so no `error` event: that would mean it had failed.
                    tracing::warn!(%error, "a log cannot be followed");
                    batch.extend_from_slice(&sse::comment(
                        "the log cannot be read now: come back with Last-Event-ID",
                    ));
                    self.ended = true;
                    break;
                }
            }
            if batch.len() >= BATCH {
                break;
            }
            step = self.log.ready().await;
        }
        Some(batch.freeze())
    }
}

fn introduction(record: &Record) -> Value {
    json!({
        "taskId": record.task_id,
        "status": record.status,
        "createdAt": javascript(record.created_at),
        "logsPath": record.logs_path,
    })
}

fn end(record: &Record, batch: &mut BytesMut) {
    match record.status {
        Status::Failed => {
            let error = record.error.as_deref().unwrap_or("Task failed");
            batch.extend_from_slice(&sse::event("error", &json!({ "error": error })));
        }
        Status::Cancelled => {
            batch.extend_from_slice(&sse::event(
                "cancelled",
                &json!({ "message": "Task cancelled by user" }),
            ));
        }
        Status::Completed | Status::Pending | Status::Running => {}
    }
    batch.extend_from_slice(&sse::event("done", &Value::Object(report(record))));
}

#[cfg(test)]
mod tests;
