//! `GET /`, `/health`, `/healthz`, `/ready`: for people and for whatever watches over the gateway.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::app::App;
use crate::bucket::{Bucket, Durability, When};

/// An answer about the storage holds for so long: nobody must be asked for a key to get one.
const FRESH: Duration = Duration::from_secs(2);

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(|| async { "Claude Code Agent is running" }))
        .route("/health", get(health))
        .route("/healthz", get(health))
        .route("/ready", get(ready))
}

/// Tries whether the bucket takes a write.
#[derive(Debug)]
pub struct StorageProbe {
    bucket: Arc<dyn Bucket>,
    last: Mutex<Option<(Instant, bool)>>,
}

impl StorageProbe {
    /// A probe of this bucket.
    pub fn new(bucket: Arc<dyn Bucket>) -> Self {
        Self {
            bucket,
            last: Mutex::new(None),
        }
    }

    async fn is_writable(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, writable)) = last
            && at.elapsed() < FRESH
        {
            return writable;
        }
        let written = self
            .bucket
            .put(
                "probe/writable",
                // A disk that is full still takes an empty file.
                Bytes::from_static(&[0; 64 * 1024]),
                When::Always,
                Durability::Buffered,
            )
            .await;
        if let Err(error) = &written {
            tracing::warn!(%error, "the storage takes no write");
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), written.is_ok()));
        written.is_ok()
    }
}

/// That the process answers; with `?verbose=true` everything an operator would look for first.
async fn health(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|query| query.split('&').any(|pair| pair == "verbose=true"));
    if verbose {
        Json(verbosely(&app).await).into_response()
    } else {
        "ok".into_response()
    }
}

async fn verbosely(app: &App) -> Value {
    let writable = app.storage.is_writable().await;
    let active = app.plugins.active();
    let load = app.dispatcher.load();
    let mut plugins = json!({ "revision": active.as_ref().map(|active| active.set().revision()) });
    if let (Some(fields), Some(error)) = (plugins.as_object_mut(), app.plugins.last_error()) {
        fields.insert("error".to_owned(), json!(error));
    }
    let kind = if app.tasks.bucket().directory().is_some() {
        "directory"
    } else {
        "cloud-storage"
    };
    json!({
        "status": if writable && active.is_some() { "healthy" } else { "degraded" },
        "server": if app.stopping.is_cancelled() { "stopping" } else { "running" },
        "version": env!("CARGO_PKG_VERSION"),
        "storage": { "kind": kind, "writable": writable },
        "keys": app.envelope.kind(),
        "isolation": app.isolation.report(),
        "plugins": plugins,
        "queue": { "running": load.running, "waiting": load.waiting, "max": load.max },
        "claude": app.claude.report().await,
    })
}

/// Whether a task would be taken: a set is active and its record could be stored.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let (plugins, storage) = (
        app.plugins.active().is_some(),
        app.storage.is_writable().await,
    );
    let ready = plugins && storage && !app.stopping.is_cancelled();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "ready": ready, "plugins": plugins, "storage": storage })),
    )
        .into_response()
}
