//! `GET /openapi.json`: this API, described for programs.
//!
//! `openapi.json` holds what is written by hand; the requests come from `admission`, which checks them.
//! Tests hold the document against the router and against what the gateway answers.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::problem::Problem;
use crate::admission::json_schema;
use crate::app::App;
use crate::config::Task;
use crate::task::Mode;

const WRITTEN: &str = include_str!("openapi.json");

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/openapi.json", get(openapi))
}

async fn openapi(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    document(&app.config.task)
        .map(Json)
        .map_err(Problem::internal)
}

/// The whole, as this gateway's settings have it.
pub(super) fn document(task: &Task) -> serde_json::Result<Value> {
    let mut document: Value = serde_json::from_str(WRITTEN)?;
    let places = [
        ("/info/version", json!(env!("CARGO_PKG_VERSION"))),
        (
            "/components/schemas/RunRequest",
            json_schema(Mode::Sync, task),
        ),
        (
            "/components/schemas/RunAsyncRequest",
            json_schema(Mode::Async, task),
        ),
    ];
    for (place, value) in places {
        if let Some(place) = document.pointer_mut(place) {
            *place = value;
        }
    }
    Ok(document)
}
