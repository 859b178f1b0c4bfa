//! One task from its turn in the line to its end, whoever ends it.
//!
//! Whatever goes wrong with the storage here ends the attendance, not the task: the dispatcher's next
//! look at the bucket finds the task where it stands and takes it up again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{LaunchError, Launcher};
use crate::config::Config;
use crate::envelope::Envelope;
use crate::task::{Ending, Lease, Phase, Reason, Record, Status, TaskError, TaskId, Tasks};
use crate::webhook::Courier;

/// Between two tries to start a job where none can be started for now.
const TRY_AGAIN: Duration = if cfg!(test) {
    Duration::from_millis(100)
} else {
    Duration::from_secs(15)
};

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

/// What came of starting a job.
#[derive(Debug)]
enum Launched {
    /// To be watched.
    Job(Box<Record>),
    /// Somebody else starts it, or the task is over.
    Nothing,
    /// The task waits on.
    NotNow,
}

/// How a task ends whose job is gone and has written no end.
pub(super) fn died_as(record: &Record) -> Ending {
    match record.cancel {
        Some(_) => Ending::cancelled(),
        None => Ending::failed(Reason::Lost, "The job ended without a result."),
    }
}

/// What it takes to bring tasks to their end. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Attendant {
    pub(super) tasks: Tasks,
    pub(super) envelope: Envelope,
    pub(super) launcher: Arc<dyn Launcher>,
    pub(super) courier: Arc<Courier>,
    pub(super) cancel_grace: Duration,
    pub(super) lease: Duration,
    pub(super) longest: Duration,
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
            longest: Duration::from_secs(u64::from(config.task.timeout_minutes_limit) * 60),
            stop,
        }
    }

    /// Brings the task to its end; `overdue` tells that its end was asked for. `starts_here` is told whether this
    /// gateway starts its job, each time that this shows.
    pub(super) async fn attend(
        &self,
        id: &TaskId,
        overdue: &CancellationToken,
        starts_here: impl Fn(bool) + Send + Sync,
    ) -> Result<(), TaskError> {
        let Some(mut record) = self.tasks.get(id).await? else {
            return Ok(());
        };
        if Standing::of(&record) != Standing::Queued {
            starts_here(false);
        }
        loop {
            if Standing::of(&record) == Standing::Starting {
                match self.started_elsewhere(&record).await? {
                    Some(newer) => record = newer,
                    None => return Ok(()),
                }
            }
            if Standing::of(&record) == Standing::Held {
                return self.watch(record, overdue).await;
            }
            starts_here(true);
            match self.launch(&record).await? {
                Launched::Job(launched) => return self.watch(*launched, overdue).await,
                Launched::Nothing => {
                    starts_here(false);
                    return Ok(());
                }
                Launched::NotNow => {}
            }
            let again = async {
                tokio::select! {
                    () = overdue.cancelled() => {}
                    () = tokio::time::sleep(TRY_AGAIN) => {}
                }
            };
            if !self.unless_stopped(again).await {
                return Ok(());
            }
            match self.tasks.get(id).await? {
                Some(newer) => record = newer,
                None => return Ok(()),
            }
        }
    }

    /// Ends the task where it is plain at this moment that nobody works on it any more, or settles it
    /// where it is over; true where either was done.
    pub(super) async fn end_where_gone(&self, record: &Record) -> Result<bool, TaskError> {
        let id = &record.task_id;
        let died = !record.status.is_terminal()
            && Standing::of(record) == Standing::Held
            && !self.is_held(id).await?
            && self.launcher.is_gone(record).await;
        if !died && !record.status.is_terminal() {
            return Ok(false);
        }
        // A job that ends well has written its end before it is gone.
        match self.tasks.get(id).await? {
            Some(newer) if newer.status.is_terminal() => {
                self.tasks.settle(&newer).await?;
                self.courier.nudge();
            }
            Some(newer) if newer.attempt == record.attempt => {
                self.launcher.sweep(id).await;
                self.finish(id, died_as(&newer)).await?;
            }
            Some(_) | None => return Ok(false),
        }
        Ok(true)
    }

    /// Ends a task that no job was started for, here or by another gateway; whatever its record says otherwise
    /// stands.
    pub(super) async fn end_unstarted(&self, id: &TaskId) -> Result<Record, TaskError> {
        self.finish_if(id, Ending::cancelled(), |record| {
            Standing::of(record) == Standing::Queued
        })
        .await
    }

    /// A gateway died, or works on, between noting that it starts the job and noting which it is. The
    /// job would take its lease within the lease's length; the record as it is then, none where we are
    /// to stop.
    async fn started_elsewhere(&self, record: &Record) -> Result<Option<Record>, TaskError> {
        loop {
            if !self.unless_stopped(tokio::time::sleep(self.lease)).await {
                return Ok(None);
            }
            let Some(mut record) = self.tasks.get(&record.task_id).await? else {
                return Ok(None);
            };
            if Standing::of(&record) != Standing::Starting {
                return Ok(Some(record));
            }
            match self.launcher.find(&record).await {
                Ok(Some(name)) => return Ok(self.note(record, name).await),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(task = %record.task_id, %error, "a job that may have been started cannot be looked for");
                    continue;
                }
            }
            if self.is_held(&record.task_id).await? {
                // The record follows the lease; to be watched until then.
                record.phase = Phase::Preparing;
            }
            return Ok(Some(record));
        }
    }

    /// Starts the job, if the record is still as we know it: of several gateways one does.
    async fn launch(&self, known: &Record) -> Result<Launched, TaskError> {
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
                let as_known = |record: &Record| {
                    record.status == Status::Pending
                        && (record.phase, record.attempt) == (known.phase, known.attempt)
                };
                self.finish_if(id, Ending::cancelled(), as_known).await?;
            }
            return Ok(Launched::Nothing);
        }
        match self.launcher.start(&claimed.record).await {
            Ok(name) => {
                let noted = self.note(claimed.record, name).await;
                Ok(noted.map_or(Launched::Nothing, |record| Launched::Job(Box::new(record))))
            }
            Err(LaunchError::NotNow(detail)) => {
                tracing::warn!(task = %id, detail, "a job cannot be started for now; its task waits on");
                self.give_back(&claimed.record).await?;
                Ok(Launched::NotNow)
            }
            Err(LaunchError::Refused { told, detail }) => {
                tracing::error!(task = %id, detail, "a job could not be started");
                let attempt = claimed.record.attempt;
                let still_ours = |record: &Record| {
                    record.status == Status::Pending
                        && (record.phase, record.attempt) == (Phase::Starting, attempt)
                };
                self.finish_if(id, Ending::failed(Reason::Internal, told), still_ours)
                    .await?;
                Ok(Launched::Nothing)
            }
        }
    }

    /// The task waits again, unless a job has taken it after all.
    async fn give_back(&self, claimed: &Record) -> Result<(), TaskError> {
        let change = |record: &mut Record| {
            let ours = record.status == Status::Pending
                && (record.phase, record.attempt) == (Phase::Starting, claimed.attempt);
            if ours {
                record.phase = Phase::Queued;
            }
            ours
        };
        self.tasks.update(&claimed.task_id, change).await?;
        Ok(())
    }

    /// The record with the name of its job, also where that cannot be noted: the job is there all the
    /// same. None where somebody started another meanwhile, which alone counts.
    async fn note(&self, mut record: Record, name: String) -> Option<Record> {
        let (id, attempt) = (record.task_id.clone(), record.attempt);
        record.execution_name = Some(name.clone());
        let noted = self.tasks.update(&id, |record| {
            let counts = record.attempt == attempt;
            if counts {
                record.execution_name = Some(name.clone());
            }
            counts
        });
        match noted.await {
            Ok(noted) if noted.record.attempt != attempt => return None,
            Ok(noted) => record.status = noted.record.status,
            Err(error) => tracing::warn!(task = %id, %error, "the job's name cannot be noted"),
        }
        Some(record)
    }

    pub(super) async fn is_held(&self, id: &TaskId) -> Result<bool, TaskError> {
        let holder = Lease::holder(self.tasks.bucket().as_ref(), id).await?;
        Ok(holder.is_some_and(|holder| holder.is_alive()))
    }

    pub(super) async fn finish(&self, id: &TaskId, ending: Ending) -> Result<Record, TaskError> {
        self.finish_if(id, ending, |_| true).await
    }

    async fn finish_if(
        &self,
        id: &TaskId,
        ending: Ending,
        applies: impl Fn(&Record) -> bool + Send + Sync,
    ) -> Result<Record, TaskError> {
        use crate::task::Finished::{Before, ByUs};
        let (ByUs(record) | Before(record)) = self.tasks.finish_if(id, ending, applies).await?;
        if record.status.is_terminal() {
            tracing::info!(task = %id, status = record.status.as_str(), reason = ?record.reason, "a task is over");
            self.courier.nudge();
        }
        Ok(*record)
    }

    /// False where we are to stop before the wait is over.
    pub(super) async fn unless_stopped(&self, wait: impl Future<Output = ()>) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = wait => true,
        }
    }
}
