//! Tool calls that plugins want a person to decide: each waits, for a bounded time, for an answer that
//! comes through the bucket.
//!
//! Whatever goes wrong is a denial. Does not know who may answer; the gateway does (`http/approvals.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::announcement;
use super::gate::Told;
use crate::config;
use crate::plugin::ToApprove;
use crate::task::{
    Answered, Approval, ApprovalState, CallId, Decided, EventLog, MOST_APPROVALS, Phase, TaskError,
    TaskId, Tasks, names,
};

/// An answer is noticed after this long, where no hint comes sooner.
const LOOK: Duration = Duration::from_millis(250);
/// For writing down that nobody answered; the agent is not kept waiting by a storage that fails.
const EXPIRY: Duration = Duration::from_secs(2);
/// Bytes of a name that the agent chose.
const NAME: usize = 256;

/// How a question ended.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) state: ApprovalState,
    pub(super) answer: Answered,
    pub(super) waited: Duration,
}

/// The questions of one task. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Approvals {
    tasks: Tasks,
    id: TaskId,
    log: EventLog,
    settings: config::Approvals,
    /// The task ends.
    stop: CancellationToken,
    pending: Arc<AtomicU32>,
    put: Arc<AtomicU32>,
    /// All that waits and writes.
    work: TaskTracker,
}

impl Approvals {
    /// No question yet; `stop` ends all that come.
    pub(super) fn new(
        tasks: Tasks,
        id: TaskId,
        log: EventLog,
        settings: config::Approvals,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            tasks,
            id,
            log,
            settings,
            stop: stop.child_token(),
            pending: Arc::default(),
            put: Arc::default(),
            work: TaskTracker::new(),
        }
    }

    /// Runs on by itself, also where nobody waits for its answer any more, until [`Approvals::close`].
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.work.spawn(work);
    }

    /// Ends what still waits, and returns once all of it is written down.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.work.close();
        self.work.wait().await;
    }

    async fn put_and_wait(&self, asked: &ToApprove, told: &mpsc::Sender<Told>) -> Outcome {
        let since = Instant::now();
        let ended = |(state, answer)| Outcome {
            state,
            answer,
            waited: since.elapsed(),
        };
        let approval = match self.put(asked).await {
            Ok(approval) => approval,
            Err(why) => return ended((ApprovalState::Expired, Approval::expiry(why))),
        };
        self.note().await;
        tell(
            told,
            json!({
                "event": "approval_requested", "call": approval.call, "tool": approval.tool,
                "plugins": approval.plugins, "reason": approval.reason,
                "expiresAt": approval.expires_at,
            }),
        )
        .await;
        self.spawn(announcement::announce(
            self.tasks.clone(),
            self.id.clone(),
            approval.clone(),
            self.stop.clone(),
        ));
        let (state, answer) = self
            .wait(&approval.call, since + self.settings.timeout)
            .await;
        let outcome = ended((state, answer));
        tell(
            told,
            json!({
                "event": "approval_decided", "call": approval.call, "tool": approval.tool,
                "state": state, "by": outcome.answer.by, "reason": outcome.answer.reason,
                "changed": outcome.answer.input.is_some(), "waitedMs": outcome.waited.as_millis(),
            }),
        )
        .await;
        outcome
    }

    /// Puts the question and waits for its answer; followers are told of both through `told`. To be followed by [`Approvals::note`], for which the
    /// agent need not wait.
    pub(super) async fn ask(&self, asked: &ToApprove, told: &mpsc::Sender<Told>) -> Outcome {
        let most = self.settings.max_pending;
        let one_more = |pending| (pending < most).then_some(pending + 1);
        let place = self
            .pending
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        if let Err(pending) = place {
            let why = format!("{pending} calls wait for a person already, and no more can.");
            return Outcome {
                state: ApprovalState::Expired,
                answer: Approval::expiry(why),
                waited: Duration::ZERO,
            };
        }
        let outcome = self.put_and_wait(asked, told).await;
        self.pending.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    /// Why it cannot be put, where it cannot.
    async fn put(&self, asked: &ToApprove) -> Result<Approval, String> {
        let put = usize::try_from(self.put.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
        if put >= MOST_APPROVALS {
            return Err(format!(
                "Persons were asked about {MOST_APPROVALS} calls of this task; they are asked no more."
            ));
        }
        let size = asked.call.input.to_string().len() as u64;
        if size > self.settings.max_input {
            let most = self.settings.max_input;
            return Err(format!(
                "The input has {size} bytes, and no person is shown more than {most}."
            ));
        }
        let by_index = format!("call-{}", asked.call.index);
        let redactor = self.log.redactor();
        let given = Some(asked.call.id.as_str()).filter(|id| !redactor.finds(id.as_bytes()));
        for name in given.into_iter().chain([by_index.as_str()]) {
            let Ok(call) = name.parse::<CallId>() else {
                continue;
            };
            let approval = self.approval(call, asked);
            match self.tasks.request_approval(&self.id, &approval).await {
                Ok(true) => return Ok(approval),
                // A name that came before is not this call's.
                Ok(false) => {}
                Err(error) => {
                    warn!(%error, "a question to a person cannot be put");
                    return Err("The question could not be stored.".to_owned());
                }
            }
        }
        Err("The question could not be told from an earlier one.".to_owned())
    }

    fn approval(&self, call: CallId, asked: &ToApprove) -> Approval {
        let redactor = self.log.redactor();
        let input = redactor.json(&asked.call.input);
        let now = Timestamp::now();
        Approval {
            call,
            tool: redactor.words(&asked.call.tool, NAME),
            subagent: asked
                .call
                .subagent
                .as_ref()
                .map(|name| redactor.words(name, NAME)),
            redacted: input != asked.call.input,
            input,
            plugins: asked.plugins.clone(),
            reason: asked.reason.clone(),
            requested_at: now,
            expires_at: now
                .saturating_add(self.settings.timeout)
                .unwrap_or(Timestamp::MAX),
            state: ApprovalState::Pending,
            answer: None,
        }
    }

    async fn wait(&self, call: &CallId, deadline: Instant) -> (ApprovalState, Answered) {
        let mut hints = self.tasks.bucket().watch(&names::approvals(&self.id));
        loop {
            match self.tasks.approval(&self.id, call).await {
                Ok(Some(approval)) => {
                    if let Some(answered) = self.answered(approval).await {
                        return answered;
                    }
                }
                Ok(None) | Err(TaskError::Damaged { .. }) => {
                    let why = "The question is gone from the storage, or damaged.";
                    return (ApprovalState::Expired, Approval::expiry(why));
                }
                Err(error) => warn!(%error, "a person's answer cannot be looked for"),
            }
            let why = tokio::select! {
                biased;
                () = self.stop.cancelled() => "The task ended before anybody decided.".to_owned(),
                () = tokio::time::sleep_until(deadline) => {
                    format!("Nobody decided within {} seconds.", self.settings.timeout.as_secs_f64())
                }
                () = hints.changed(LOOK) => continue,
            };
            return self.expire(call, why).await;
        }
    }

    /// Somebody's answer, kept and handed on without the task's secrets that it may repeat.
    async fn answered(&self, approval: Approval) -> Option<(ApprovalState, Answered)> {
        let answer = approval.answer?;
        let redactor = self.log.redactor();
        let kept = Answered {
            reason: answer.reason.as_ref().map(|words| redactor.text(words)),
            input: answer.input.as_ref().map(|input| redactor.json(input)),
            ..answer.clone()
        };
        if kept != answer
            && let Err(error) = self
                .tasks
                .redact_answer(&self.id, &approval.call, kept.clone())
                .await
        {
            warn!(%error, "a secret stays in a person's answer");
        }
        let answer = Answered {
            input: answer.input,
            ..kept
        };
        Some((approval.state, answer))
    }

    /// Closes the question, unless somebody answered in this very moment.
    async fn expire(&self, call: &CallId, why: String) -> (ApprovalState, Answered) {
        let answer = Approval::expiry(why);
        let state = ApprovalState::Expired;
        let closing = self.tasks.decide_approval(&self.id, call, state, &answer);
        match tokio::time::timeout(EXPIRY, closing).await {
            Ok(Ok(Decided::Before(approval))) => {
                if let Some(answered) = self.answered(approval).await {
                    return answered;
                }
            }
            Ok(Ok(Decided::Now(_) | Decided::Unknown)) => {}
            Ok(Err(error)) => warn!(%error, "a question stays open until the task ends"),
            Err(_) => warn!("a question stays open until the task ends: the storage is slow"),
        }
        (state, answer)
    }

    /// Writes into the record how many wait.
    pub(super) async fn note(&self) {
        let change = |record: &mut crate::task::Record| {
            if !matches!(record.phase, Phase::Agent | Phase::WaitingApproval) {
                return false;
            }
            // Read here: of several writers the last one has the count that holds.
            let pending = self.pending.load(Ordering::SeqCst);
            let phase = match pending {
                0 => Phase::Agent,
                _ => Phase::WaitingApproval,
            };
            let changed = (record.phase, record.pending_approvals) != (phase, pending);
            (record.phase, record.pending_approvals) = (phase, pending);
            changed
        };
        if let Err(error) = self.tasks.update(&self.id, change).await {
            warn!(%error, "the record does not tell that a call waits for a person");
        }
    }
}

/// The answer does not wait for the event log, only for a place among what waits for it.
async fn tell(told: &mpsc::Sender<Told>, event: Value) {
    if told.send(Told::Event(event)).await.is_err() {
        warn!("an event of an approval cannot be kept");
    }
}
