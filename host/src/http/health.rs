//! `GET /`, `/health`, `/healthz`, `/ready`: for people and for whatever watches over the gateway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::app::App;
use crate::bucket::{Bucket, Durability, When};
use crate::isolation::Isolation;

/// An answer about the storage holds for so long: nobody must be asked for a key to get one.
const FRESH: Duration = Duration::from_secs(2);

/// Names of the objects that are written for it.
const OBJECTS: u128 = 16;

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
    /// Google takes about one write a second of one object: gateways on one bucket must not share it, and
    /// their objects must not pile up.
    object: String,
    /// Whoever writes holds it, so that many who ask at once write once.
    last: Mutex<Option<(Instant, bool)>>,
}

impl StorageProbe {
    /// A probe of this bucket.
    pub fn new(bucket: Arc<dyn Bucket>) -> Self {
        Self {
            bucket,
            object: format!("probe/{}", Uuid::new_v4().as_u128() % OBJECTS),
            last: Mutex::new(None),
        }
    }

    async fn is_writable(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, writable)) = *last
            && at.elapsed() < FRESH
        {
            return writable;
        }
        let written = self
            .bucket
            .put(
                &self.object,
                // A disk that is full still takes an empty file.
                Bytes::from_static(&[0; 64 * 1024]),
                When::Always,
                Durability::Buffered,
            )
            .await;
        if let Err(error) = &written {
            tracing::warn!(%error, "the storage takes no write");
        }
        *last = Some((Instant::now(), written.is_ok()));
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
        "isolation": app.isolation.as_ref().map_or_else(|| elsewhere(app), Isolation::report),
        "plugins": plugins,
        "queue": { "running": load.running, "waiting": load.waiting, "max": load.max },
        "claude": app.claude.report().await,
    })
}

/// Where no agent runs there is nothing to prove: each job does, and says so in its task's record.
fn elsewhere(app: &App) -> Value {
    json!({ "level": null, "minimum": app.config.isolation.minimum, "agents": "in jobs of Cloud Run" })
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

#[cfg(all(test, feature = "gcp"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fake_google::FakeGoogle;

    use super::*;
    use crate::config::{Sources, load};

    #[tokio::test]
    async fn many_who_ask_at_once_write_once() {
        let fake = FakeGoogle::start().await.unwrap();
        fake.set_latency(Duration::from_millis(50));
        let given = [
            ("GCS_LOGS_BUCKET", "logs".to_owned()),
            ("PROJECT_ID", "p-1".to_owned()),
            ("REGION", "europe-west3".to_owned()),
            ("GATEHOUSE__GOOGLE__ENDPOINT", fake.url()),
        ];
        let environment = given.map(|(name, value)| (name.to_owned(), value));
        let config = load(&Sources {
            environment: environment.into(),
            ..Sources::default()
        });
        let bucket = crate::bucket::open(&config.unwrap()).await.unwrap();
        let probe = StorageProbe::new(bucket);
        let all = futures::future::join_all((0..20).map(|_| probe.is_writable())).await;
        assert!(all.iter().all(|writable| *writable));
        assert_eq!(fake.count("storage.insert"), 1);
    }
}
