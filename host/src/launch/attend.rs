//! One task from its turn in the line to its end, whoever ends it.
//!
//! Whatever goes wrong with the storage here ends the attendance, not the task: the dispatcher's next
//! look at the bucket finds the task where it stands and takes it up again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Launcher;
use crate::config::Config;
use crate::envelope::Envelope;
use crate::task::{Ending, Lease, Phase, Reason, Record, Status, TaskError, TaskId, Tasks, names};
use crate::webhook::Courier;

/// How long after `timeoutMinutes` a job is taken for hanging: more than it takes to end the agent and
/// to wait for a storage that fails for a while. While it carries out actions, which have limits of their
/// own, it is given the second time as well; so is a job that acts while its task is cancelled.
const HANGS_AFTER: Duration = if cfg!(test) {
    Duration::from_millis(100)
} else {
    Duration::from_secs(15 * 60)
};
const ACTIONS_HANG_AFTER: Duration = Duration::from_secs(60 * 60);

/// How often the record of a cancelled task is read whose job carries out actions, without a hint.
const LOOK_AT_ACTIONS: Duration = Duration::from_secs(1);

/// Where an unfinished task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No job was ever started for it.
    Queued,
    /// A gateway was about to start its job; the job may be there or not.
    Starting,
    /// It has or had a job, or is over and not settled: to be watched, which tells.
    Held,
}

impl Standing {
    pub(super) fn of(record: &Record) -> Self {
        match (record.status, record.phase) {
            (Status::Pending, Phase::Queued) => Self::Queued,
            (Status::Pending, Phase::Starting) if record.execution_name.is_none() => Self::Starting,
            _ => Self::Held,
        }
    }
}

/// What it takes to bring tasks to their end. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Attendant {
    pub(super) tasks: Tasks,
    pub(super) envelope: Envelope,
    pub(super) launcher: Arc<dyn Launcher>,
    pub(super) courier: Arc<Courier>,
    cancel_grace: Duration,
    lease: Duration,
    longest: u32,
    stop: CancellationToken,
}

impl Attendant {
    pub(super) fn new(
        config: &Config,
        tasks: Tasks,
        envelope: Envelope,
        launcher: Arc<dyn Launcher>,
        courier: Arc<Courier>,
        stop: CancellationToken,
    ) -> Self {
        // The job may learn of the request with its next heartbeat only.
        let cancel_grace = config.job.cancel_grace.saturating_add(config.job.heartbeat);
        Self {
            tasks,
            envelope,
            launcher,
            courier,
            cancel_grace,
            lease: config.job.lease,
            longest: config.task.timeout_minutes_limit,
            stop,
        }
    }

    /// Brings the task to its end; `overdue` tells that its end was asked for.
    pub(super) async fn attend(
        &self,
        id: &TaskId,
        overdue: &CancellationToken,
    ) -> Result<(), TaskError> {
        let Some(mut record) = self.tasks.get(id).await? else {
            return Ok(());
        };
        if Standing::of(&record) == Standing::Starting {
            match self.started_elsewhere(&record).await? {
                Some(newer) => record = newer,
                None => return Ok(()),
            }
        }
        if Standing::of(&record) != Standing::Held {
            match self.launch(&record).await? {
                Some(launched) => record = launched,
                None => return Ok(()),
            }
        }
        self.watch(record, overdue).await
    }

    /// Ends a task that no job was started for; whatever its record says otherwise stands.
    pub(super) async fn end_unstarted(&self, id: &TaskId) -> Result<Record, TaskError> {
        self.finish(id, Ending::cancelled()).await
    }

    /// A gateway died, or works on, between noting that it starts the job and noting which it is. The
    /// job would take its lease within the lease's length; the record as it is then, none where we are
    /// to stop.
    async fn started_elsewhere(&self, record: &Record) -> Result<Option<Record>, TaskError> {
        if !self.unless_stopped(tokio::time::sleep(self.lease)).await {
            return Ok(None);
        }
        let Some(mut record) = self.tasks.get(&record.task_id).await? else {
            return Ok(None);
        };
        if Standing::of(&record) == Standing::Starting && self.is_held(&record.task_id).await? {
            // The record follows the lease; to be watched until then.
            record.phase = Phase::Preparing;
        }
        Ok(Some(record))
    }

    /// Starts the job, if the record is still as we know it: of several gateways one does. None where
    /// there is nothing to watch.
    async fn launch(&self, known: &Record) -> Result<Option<Record>, TaskError> {
        let id = &known.task_id;
        let claimed = self
            .tasks
            .update(id, |record| {
                let ours = record.status == Status::Pending
                    && (record.phase, record.attempt) == (known.phase, known.attempt)
                    && record.cancel.is_none();
                if ours {
                    record.phase = Phase::Starting;
                    record.attempt = record.attempt.saturating_add(1);
                }
                ours
            })
            .await?;
        if !claimed.changed {
            if claimed.record.cancel.is_some() && claimed.record.phase == known.phase {
                self.finish(id, Ending::cancelled()).await?;
            }
            return Ok(None);
        }
        let name = match self.launcher.start(id).await {
            Ok(name) => name,
            Err(error) => {
                tracing::error!(task = %id, %error, "a job could not be started");
                let ending = Ending::failed(Reason::Internal, "The job could not be started.");
                self.finish(id, ending).await?;
                return Ok(None);
            }
        };
        let mut record = claimed.record;
        record.execution_name = Some(name.clone());
        let noted = self.tasks.update(id, |record| {
            record.execution_name = Some(name.clone());
            true
        });
        match noted.await {
            Ok(noted) => record.status = noted.record.status,
            // The job is there all the same, and we know its name.
            Err(error) => tracing::warn!(task = %id, %error, "the job's name cannot be noted"),
        }
        Ok(Some(record))
    }

    /// Waits for the job's end, forces it where it is overdue, and sees that the record has an end too.
    async fn watch(
        &self,
        mut record: Record,
        overdue: &CancellationToken,
    ) -> Result<(), TaskError> {
        let id = record.task_id.clone();
        let mut hints = self.tasks.bucket().watch(&names::transient(&id));
        let mut hung = false;
        loop {
            let gone = async { hung = self.gone(&record, overdue).await };
            if !self.unless_stopped(gone).await {
                return Ok(());
            }
            let Some(newer) = self.tasks.get(&id).await? else {
                return Ok(());
            };
            record = newer;
            if record.status.is_terminal() {
                self.launcher.sweep(&id).await;
                self.tasks.settle(&record).await?;
                self.courier.nudge();
                return Ok(());
            }
            if !self.is_held(&id).await? {
                break;
            }
            // Another job than the one we know works on it, or one that we cannot see.
            if !self.unless_stopped(hints.changed(self.lease)).await {
                return Ok(());
            }
        }
        self.launcher.sweep(&id).await;
        let ending = match record.cancel {
            Some(_) => Ending::cancelled(),
            None if hung => Ending::failed(
                Reason::TimedOut,
                "Process timed out: timeoutMinutes is over, and the job did not end",
            ),
            None => Ending::failed(Reason::Lost, "The job ended without a result."),
        };
        self.finish(&id, ending).await?;
        Ok(())
    }

    /// Returns when the job is gone, which it will be some time after its end was asked for or its
    /// time was over; true where it hung and had to be killed for that.
    async fn gone(&self, record: &Record, overdue: &CancellationToken) -> bool {
        let cancelled = async {
            overdue.cancelled().await;
            tokio::time::sleep(self.cancel_grace).await;
            self.done_acting(&record.task_id).await;
        };
        let hung = tokio::select! {
            () = self.launcher.gone(record) => return false,
            () = cancelled => false,
            () = self.hangs(record) => true,
        };
        if hung {
            tracing::error!(task = %record.task_id, "a job is long past its task's time and is killed");
        }
        self.launcher.kill(record).await;
        self.launcher.gone(record).await;
        hung
    }

    /// Returns once the job must hang: a job ends its task in time by itself, and a stopped or
    /// deadlocked one still looks alive. Measured from here, not by the record, so that neither a
    /// changed clock nor a suspended machine ends a job that works.
    async fn hangs(&self, record: &Record) {
        let minutes = record
            .effective
            .get("timeoutMinutes")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_else(|| u64::from(self.longest));
        let total = Duration::from_secs(minutes.saturating_mul(60));
        tokio::time::sleep(total.saturating_add(HANGS_AFTER)).await;
        let acts = match self.tasks.get(&record.task_id).await {
            Ok(Some(record)) => {
                matches!(
                    record.phase,
                    Phase::Actions | Phase::Reporting | Phase::Ended
                )
            }
            Ok(None) | Err(_) => true,
        };
        if acts {
            tokio::time::sleep(ACTIONS_HANG_AFTER).await;
        }
    }

    /// Returns once the job carries out no actions, and where it did, had the time to report: one that
    /// is cut in the middle of a push could not tell what it pushed. Each has a limit of its own.
    async fn done_acting(&self, id: &TaskId) {
        let acting = async {
            let mut acted = false;
            let mut hints = self.tasks.bucket().watch(&names::session(id));
            while let Ok(Some(record)) = self.tasks.get(id).await {
                match record.phase {
                    Phase::Actions => acted = true,
                    _ if acted => return tokio::time::sleep(self.cancel_grace).await,
                    _ => return,
                }
                hints.changed(LOOK_AT_ACTIONS).await;
            }
        };
        let _longer = tokio::time::timeout(ACTIONS_HANG_AFTER, acting).await;
    }

    pub(super) async fn is_held(&self, id: &TaskId) -> Result<bool, TaskError> {
        let holder = Lease::holder(self.tasks.bucket().as_ref(), id).await?;
        Ok(holder.is_some_and(|holder| holder.is_alive()))
    }

    async fn finish(&self, id: &TaskId, ending: Ending) -> Result<Record, TaskError> {
        use crate::task::Finished::{Before, ByUs};
        let (ByUs(record) | Before(record)) = self.tasks.finish(id, ending).await?;
        tracing::info!(task = %id, status = record.status.as_str(), reason = ?record.reason, "a task is over");
        self.courier.nudge();
        Ok(*record)
    }

    /// False where we are to stop before the wait is over.
    async fn unless_stopped(&self, wait: impl Future<Output = ()>) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = wait => true,
        }
    }
}
