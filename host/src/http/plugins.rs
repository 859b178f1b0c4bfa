//! `GET /plugins`: which set is active, what each plugin did, what keeps one from loading.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use crate::app::App;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/plugins", get(plugins))
}

async fn plugins(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.plugins.status())
}
