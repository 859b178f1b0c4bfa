//! From a request to a task in the line: what `/run` and `/run-async` have in common.

use std::sync::Arc;

use axum::extract::Request;
use bytes::Bytes;
use tracing::Instrument as _;

use super::access::Caller;
use super::body;
use super::presence::Follower;
use super::problem::{
    CALLBACK_FORBIDDEN, PLUGINS_NOT_READY, Problem, REPOSITORY_FORBIDDEN, SHUTTING_DOWN,
};
use crate::app::App;
use crate::envelope::Purpose;
use crate::git::RepositoryUrl;
use crate::plugin::DecisionLog;
use crate::task::{Mode, Record, TaskId, names};

/// A task that will run, and the presence of whoever asked for it, where that matters.
pub(super) struct Accepted {
    pub(super) record: Record,
    pub(super) follower: Option<Follower>,
}

/// Reads, checks, seals, stores and queues, in this order: nothing is stored that was not found good
/// and has no place in the line.
pub(super) async fn accept(
    app: &Arc<App>,
    request: Request,
    mode: Mode,
) -> Result<Accepted, Problem> {
    if app.stopping.is_cancelled() {
        return Err(Problem::new(
            SHUTTING_DOWN,
            "The gateway is shutting down; try again",
        ));
    }
    let (parts, body) = request.into_parts();
    body::expect_json(&parts.headers)?;
    let body = body::read(
        body,
        app.config.server.body_limit,
        app.config.server.body_timeout,
    )
    .await?;
    let caller = parts
        .extensions
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| Problem::internal("no caller"))?;
    // In a task of its own: a caller who hangs up in the middle leaves no task that is half accepted.
    let queued = tokio::spawn(queue(Arc::clone(app), body, caller, mode).in_current_span()).await;
    queued.map_err(Problem::internal)?
}

async fn queue(
    app: Arc<App>,
    body: Bytes,
    caller: Caller,
    mode: Mode,
) -> Result<Accepted, Problem> {
    let place = app.dispatcher.reserve()?;
    let plugins = app.plugins.active().ok_or_else(|| {
        let problem = Problem::new(
            PLUGINS_NOT_READY,
            "No plugin set is active; an operator must mend it",
        );
        match app.plugins.last_error() {
            Some(error) => problem.because(error),
            None => problem,
        }
    })?;
    let draft = app.admission.check(&body, mode)?;
    if let Some(url) = &draft.request.callback_url {
        app.outbound.check(url).map_err(|forbidden| {
            Problem::new(CALLBACK_FORBIDDEN, forbidden.to_string()).at("callbackUrl")
        })?;
    }
    if let Some(repository) = &draft.request.git_repo
        && let Ok(url) = RepositoryUrl::parse(repository)
    {
        app.outbound
            .check_host(&url.host, url.port())
            .map_err(|forbidden| {
                Problem::new(REPOSITORY_FORBIDDEN, forbidden.to_string()).at("gitRepo")
            })?;
    }
    let admitted = app
        .admission
        .admit(draft, &caller.0, &plugins, |id| logs_uri(&app, id))
        .await?;
    let record = admitted.record;
    let id = record.task_id.clone();
    let sealed = app
        .envelope
        .seal(Purpose::TaskPayload, &id, &admitted.payload)
        .await?;
    app.tasks.create(&record, sealed.into()).await?;
    // From here on the task exists, and whatever goes wrong must not keep it out of the line.
    let decisions = DecisionLog::open(
        Arc::clone(app.tasks.bucket()),
        &id,
        app.config.plugins.max_decisions,
    );
    decisions.add(&admitted.decisions);
    // Closed before the job may start: the file has one writer at a time.
    if let Err(error) = decisions.close().await {
        tracing::warn!(task = %id, %error, "the validators' decisions cannot be kept");
    }
    let follower = needs_follower(&record).then(|| app.presence.follow(&id));
    tracing::info!(task = %id, mode = ?mode, caller = caller.0, "accepted a task");
    app.dispatcher.submit(place, id);
    Ok(Accepted { record, follower })
}

/// Whether the task ends when nobody follows it.
pub(crate) fn needs_follower(record: &Record) -> bool {
    record.execution_mode == Mode::Sync && !record.detach && !record.status.is_terminal()
}

fn logs_uri(app: &App, id: &str) -> String {
    let id = id.parse::<TaskId>();
    id.map(|id| app.tasks.bucket().uri(&names::session(&id)))
        .unwrap_or_default()
}
