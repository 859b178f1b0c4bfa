//! `POST /run`: runs a task while the caller listens.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;

use super::problem::Problem;
use super::{stream, submit};
use crate::app::App;
use crate::task::Mode;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/run", post(run))
}

async fn run(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let accepted = submit::accept(&app, request, Mode::Sync).await?;
    Ok(stream::events(&app, &accepted.record, 0, accepted.follower))
}
