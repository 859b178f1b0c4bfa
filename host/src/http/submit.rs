//! From a request to a task in the line: what `/run` and `/run-async` have in common.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tracing::Instrument as _;

use super::idempotency::Key;
use super::presence::{Follower, Presence};
use super::problem::{
    CALLBACK_FORBIDDEN, IDEMPOTENCY_CONFLICT, PLUGINS_NOT_READY, Problem, REPOSITORY_FORBIDDEN,
    REQUEST_UNDER_WAY, SHUTTING_DOWN,
};
use super::{body, run_async};
use crate::access::Caller;
use crate::admission::Sender;
use crate::app::App;
use crate::bucket::Generation;
use crate::envelope::Purpose;
use crate::git::RepositoryUrl;
use crate::launch::Owner;
use crate::plugin::Journal;
use crate::task::{Claim, Mode, Record, TaskError, TaskId, names};

/// How often a request looks again because another one under its key was faster.
const TRIES: u32 = 50;
/// Somebody else's payload is followed by its record within less.
const PAUSE: Duration = Duration::from_millis(200);

/// A task that will run or has run, and the presence of whoever asked for it, where that matters.
pub(super) struct Accepted {
    pub(super) record: Record,
    /// What `/run-async` says: the same at every repetition of the request.
    pub(super) answer: Value,
    pub(super) follower: Option<Follower>,
}

/// A request that was read, and who sent it.
struct Submitted {
    app: Arc<App>,
    body: Bytes,
    caller: Caller,
    mode: Mode,
}

/// Reads, checks, seals, stores and queues, in this order: nothing is stored that was not found good
/// and has no place in the line.
pub(super) async fn accept(
    app: &Arc<App>,
    caller: Caller,
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
    let key = Key::of(&parts.headers, &caller.scope, mode, &body)?;
    // Before anything is begun: a caller who hangs up while it waits waits no more.
    let turn = match &key {
        Some(key) => Some(app.turns.take(&key.hash).await.ok_or_else(under_way)?),
        None => None,
    };
    let submitted = Submitted {
        app: Arc::clone(app),
        body,
        caller,
        mode,
    };
    let accepted = async move {
        let _turn = turn;
        match key {
            Some(key) => submitted.once(&key).await,
            None => submitted.make(None).await?.ok_or_else(under_way),
        }
    };
    // In a task of its own: a caller who hangs up in the middle leaves no task that is half accepted.
    let accepted = tokio::spawn(accepted.in_current_span()).await;
    accepted.map_err(Problem::internal)?
}

/// What a request under an idempotency key has found of earlier ones.
struct Repeated<'a> {
    key: &'a Key,
    /// Announced, and not carried out: its maker died or was refused in between, or is about it.
    announced: Option<Claim>,
    /// Of the claim that stands there.
    generation: Option<Generation>,
}

impl Submitted {
    /// The task of this key: the one that an earlier request made, else a new one.
    async fn once(&self, key: &Key) -> Result<Accepted, Problem> {
        let tasks = &self.app.tasks;
        for _ in 0..TRIES {
            let found = tasks.claim(&key.hash).await?;
            let generation = found.as_ref().map(|(_, generation)| *generation);
            let announced = found
                .map(|(claim, _)| claim)
                .filter(|claim| !claim.is_over(Timestamp::now()));
            if let Some(claim) = &announced {
                if claim.fingerprint != key.fingerprint {
                    let error = "This Idempotency-Key was used for another request within 24 hours";
                    return Err(Problem::new(IDEMPOTENCY_CONFLICT, error));
                }
                if let Some(record) = tasks.get(&claim.task_id).await?
                    && claim.announced(&key.hash, &record)
                {
                    return Ok(self.accepted(record, claim.answer.clone(), Presence::follow));
                }
            }
            let repeated = Repeated {
                key,
                announced,
                generation,
            };
            if let Some(accepted) = self.make(Some(repeated)).await? {
                return Ok(accepted);
            }
        }
        Err(under_way())
    }

    /// Makes the task. None where somebody else was faster under the same key.
    async fn make(&self, repeated: Option<Repeated<'_>>) -> Result<Option<Accepted>, Problem> {
        let app = &self.app;
        let owner = Owner {
            caller: self.caller.name.clone(),
            tenant: self.caller.tenant.clone(),
        };
        let place = app.dispatcher.reserve(owner, self.caller.operator)?;
        let active = app.plugins.active().ok_or_else(|| {
            let problem = Problem::new(
                PLUGINS_NOT_READY,
                "No plugin set is active; an operator must mend it",
            );
            match app.plugins.last_error() {
                Some(error) => problem.because(error),
                None => problem,
            }
        })?;
        let mut draft = app.admission.check(&self.body, self.mode)?;
        if let Some(url) = &draft.request.callback_url {
            app.outbound.check(url).map_err(|forbidden| {
                Problem::new(CALLBACK_FORBIDDEN, forbidden.to_string()).at("callbackUrl")
            })?;
        }
        if let Some(repository) = &draft.request.git_repo
            && let Ok(url) = RepositoryUrl::parse(repository)
        {
            let judged = app.outbound.check_host(&url.host, url.port());
            judged.map_err(|forbidden| {
                Problem::new(REPOSITORY_FORBIDDEN, forbidden.to_string()).at("gitRepo")
            })?;
        }
        let announced = repeated.as_ref().and_then(|it| it.announced.as_ref());
        // Whoever carries out a claim makes the very task that it announced.
        let id_is_ours = announced.is_some() && draft.request.task_id.is_none();
        if let Some(claim) = announced {
            draft.request.task_id = Some(claim.task_id.clone());
        }
        let sender = Sender {
            caller: &self.caller.name,
            tenant: &self.caller.tenant,
        };
        let admitted = app
            .admission
            .admit(draft, sender, &active, |id| logs_uri(app, id))
            .await?;
        let mut record = admitted.record;
        if let Some(claim) = announced {
            record.created_at = claim.created_at;
        }
        record.idempotency = repeated.as_ref().map(|it| it.key.hash.clone());
        let id = record.task_id.clone();
        let sealed: Bytes = app
            .envelope
            .seal(Purpose::TaskPayload, &id, &admitted.payload)
            .await?
            .into();
        let mut answer = run_async::answer(&record);
        let mut claimed = None;
        if let Some(repeated) = &repeated {
            match &repeated.announced {
                Some(claim) => {
                    answer = claim.answer.clone();
                    claimed = repeated.generation;
                }
                None => {
                    let claim = Claim {
                        fingerprint: repeated.key.fingerprint.clone(),
                        task_id: id.clone(),
                        created_at: record.created_at,
                        answer: answer.clone(),
                    };
                    let before = repeated.generation;
                    claimed = app.tasks.stake(&repeated.key.hash, &claim, before).await?;
                    if claimed.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
        let created = if id_is_ours {
            app.tasks.create_again(&record, sealed).await
        } else {
            app.tasks.create(&record, sealed).await
        };
        match (created, &repeated, claimed) {
            (Err(TaskError::Taken(id)), Some(repeated), Some(claimed)) => {
                return self.taken(&id, repeated.key, claimed).await;
            }
            (created, ..) => created?,
        }
        // From here on the task exists, and whatever goes wrong must not keep it out of the line.
        let decisions = Journal::of_decisions(
            Arc::clone(app.tasks.bucket()),
            &id,
            app.config.plugins.max_decisions,
        );
        decisions.add(&admitted.decisions);
        // Closed before the job may start: the file has one writer at a time.
        if let Err(error) = decisions.close().await {
            tracing::warn!(task = %id, %error, "the validators' decisions cannot be kept");
        }
        let accepted = self.accepted(record, answer, Presence::begin);
        tracing::info!(task = %id, mode = ?self.mode, caller = self.caller.name, "accepted a task");
        app.dispatcher.submit(place, id);
        Ok(Some(accepted))
    }

    /// The id of a claimed task was taken: by the same request through another gateway, which is none
    /// but good, or by another request, which leaves the key to whoever comes next.
    async fn taken(
        &self,
        id: &TaskId,
        key: &Key,
        claimed: Generation,
    ) -> Result<Option<Accepted>, Problem> {
        match self.app.tasks.get(id).await? {
            Some(record) if record.idempotency.as_deref() == Some(&key.hash) => Ok(None),
            Some(_) => {
                self.app.tasks.unclaim(&key.hash, claimed).await?;
                Err(TaskError::Taken(id.clone()).into())
            }
            // A payload without a record: of somebody who is about it, or who died. It shows soon.
            None => {
                tokio::time::sleep(PAUSE).await;
                Ok(None)
            }
        }
    }

    /// `joins` is how its caller begins to follow the task.
    fn accepted(
        &self,
        record: Record,
        answer: Value,
        joins: fn(&Presence, &TaskId) -> Follower,
    ) -> Accepted {
        let follower = needs_follower(&record).then(|| joins(&self.app.presence, &record.task_id));
        Accepted {
            record,
            answer,
            follower,
        }
    }
}

/// Somebody else is about the same request, or died over it; what it left is removed after a minute.
fn under_way() -> Problem {
    let error = "The same request is being taken just now, or broke off; try again later";
    Problem::new(REQUEST_UNDER_WAY, error).after(Duration::from_secs(60))
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
