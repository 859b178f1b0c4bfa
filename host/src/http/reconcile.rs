//! `POST /internal/reconcile`: one look at all unfinished tasks, now.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};

use super::access::Operator;
use super::problem::Problem;
use crate::app::App;
use crate::launch::Reconciled;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/internal/reconcile", post(reconcile))
}

async fn reconcile(
    State(app): State<Arc<App>>,
    _operator: Operator,
) -> Result<Json<Reconciled>, Problem> {
    Ok(Json(app.dispatcher.reconcile().await?))
}
