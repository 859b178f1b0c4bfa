//! `POST /run`: runs a task while the caller listens.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;

use super::problem::Problem;
use super::{access, stream, submit};
use crate::access::Caller;
use crate::app::App;
use crate::task::Mode;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/run", post(run))
}

async fn run(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    // Before the task is made: nobody wants one that cannot be followed.
    let place = access::stream(&app, &caller)?;
    let accepted = submit::accept(&app, caller, request, Mode::Sync).await?;
    Ok(stream::events(
        &app,
        &accepted.record,
        0,
        accepted.follower,
        place,
    ))
}
