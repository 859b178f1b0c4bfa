//! The life of a job: open, prepare, run, act, report.
//!
//! One process per task. It takes the task's id from its own command line or environment, never from
//! what it opens, and whatever happens inside ends in one terminal record. Does not know HTTP and
//! does not deliver reports. Relies on every other part; nothing relies on it.

mod actions;
mod announcement;
mod approvals;
mod dotenv;
mod environment_file;
mod gate;
mod interrupt;
mod prepare;
mod repository;
mod repository_config;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::bucket::Bucket;
use crate::config::Config;
use crate::envelope::Envelope;
use crate::isolation::Isolation;
use crate::task::{
    Ending, Finished, Lease, Phase, Reason, Record, Status, TaskError, TaskId, Tasks,
};

use interrupt::{Cause, Interrupt};
use work::Work;

/// The storage may fail for so long before a job gives up and leaves its task to the gateway.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Between two tries: grows from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// After it was told to end, a platform lets a process live for ten seconds. What the job still does in
/// order ends by the first of these; the second is for the rest, before the end is written.
const LAST_WORK: Duration = Duration::from_secs(7);
const LAST_STEPS: Duration = Duration::from_secs(1);

/// What the platform says of this process.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The [`Record::run_id`] of whoever started it; none where only one gateway could.
    pub run_id: Option<String>,
    /// How often the platform has started it again after it ended badly.
    pub attempt: u32,
}

/// What a job works with.
#[derive(Debug)]
pub struct Job {
    /// The settings.
    pub config: Arc<Config>,
    /// Records and events.
    pub tasks: Tasks,
    /// Opens the payload.
    pub envelope: Envelope,
    /// What separates the agent.
    pub isolation: Isolation,
}

impl Job {
    /// A job on `bucket`.
    pub fn new(
        config: Arc<Config>,
        bucket: Arc<dyn Bucket>,
        envelope: Envelope,
        isolation: Isolation,
    ) -> Self {
        Self {
            config,
            tasks: Tasks::new(bucket),
            envelope,
            isolation,
        }
    }

    /// Does the task and writes its end; how it ended, none where there was nothing to do. An error
    /// means that the end could not be written: the gateway will find the task lost.
    ///
    /// Nothing that an agent may have done is done again: a task whose agent had begun when an earlier
    /// job died is ended as lost.
    #[tracing::instrument(name = "job", skip_all, fields(task = %id, stage = tracing::field::Empty))]
    pub async fn run(self, id: TaskId, start: Start) -> Result<Option<Record>, TaskError> {
        let Some(known) = self.tasks.get(&id).await? else {
            return Err(TaskError::Unknown(id));
        };
        if !start.counts(&known) {
            info!("another job was started in this one's place; nothing to do");
            return Ok(None);
        }
        let Some(lease) = self.take_lease(&id, &start).await? else {
            info!("another job holds the lease; nothing to do");
            return Ok(None);
        };
        let Some(record) = self.tasks.get(&id).await? else {
            return Err(TaskError::Unknown(id));
        };
        if record.status.is_terminal() {
            self.tasks.settle(&record).await?;
            return Ok(None);
        }
        if !start.counts(&record) {
            info!("another job was started in this one's place; it is left to that");
            lease.release().await?;
            return Ok(None);
        }

        let interrupt = Interrupt::watch(&self.tasks, &id, lease, &self.config.job);
        let mut work = Work::new(
            &self,
            &id,
            interrupt.clone(),
            record.status == Status::Running,
        );
        let ending = if record.status == Status::Running && has_begun(record.phase) {
            warn!(phase = ?record.phase, "an earlier job died while its agent worked; the task is not done twice");
            work.died_before(&record)
        } else {
            let ended = tokio::select! {
                ended = work.until_the_end() => Some(ended),
                () = interrupt.out_of_time() => None,
            };
            match ended {
                Some(ended) => ended.unwrap_or_else(|failure| failure.into_ending(&id)),
                None => work.break_off().await,
            }
        };
        // Only now, with no process of the agent left, is it safe to say how it ended.
        let record = match interrupt.cause() {
            Some(Cause::LeaseLost) => {
                warn!("the lease was lost; its new holder reports");
                None
            }
            Some(Cause::RecordLost) => {
                warn!("the record is damaged; the gateway reports");
                None
            }
            _ => Some(report(&self.tasks, &id, ending).await?),
        };
        work.clean_up().await;
        interrupt.stop();
        Ok(record)
    }

    /// None where another job holds it. The platform starts a job again only once it is dead, whose
    /// lease may have some time to run.
    async fn take_lease(&self, id: &TaskId, start: &Start) -> Result<Option<Lease>, TaskError> {
        let settings = &self.config.job;
        let since = Instant::now();
        loop {
            let taken = Lease::take(Arc::clone(self.tasks.bucket()), id, settings.lease).await?;
            let waited_enough = since.elapsed() > settings.lease.saturating_add(settings.heartbeat);
            if taken.is_some() || start.attempt == 0 || waited_enough {
                return Ok(taken);
            }
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }
}

impl Start {
    /// Whether it is the one that the record stands at.
    fn counts(&self, record: &Record) -> bool {
        let run_id = self.run_id.as_ref();
        run_id.is_none_or(|run_id| *run_id == record.run_id())
    }
}

/// Whether the agent may have done something.
fn has_begun(phase: Phase) -> bool {
    !matches!(phase, Phase::Queued | Phase::Starting | Phase::Preparing)
}

/// Writes the end.
async fn report(tasks: &Tasks, id: &TaskId, ending: Ending) -> Result<Record, TaskError> {
    let mut patience = Patience::to("write the end of the task");
    let finished = loop {
        let finished = tasks.finish(id, ending.clone()).await;
        if !patience.lasts(finished.as_ref().err()).await {
            break finished?;
        }
    };
    match finished {
        Finished::ByUs(record) => {
            info!(
                status = record.status.as_str(),
                exit_code = record.exit_code,
                "task ended"
            );
            Ok(*record)
        }
        Finished::Before(record) => {
            warn!(
                status = record.status.as_str(),
                "task had been ended by somebody else"
            );
            Ok(*record)
        }
    }
}

/// For trying again while the storage fails: what was worked must not be lost to a disk that is full
/// for a while.
#[derive(Debug)]
struct Patience {
    what: &'static str,
    since: Instant,
    pause: Duration,
}

impl Patience {
    fn to(what: &'static str) -> Self {
        Self {
            what,
            since: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    /// True, after a pause, where it is to be tried again.
    async fn lasts(&mut self, failed: Option<&TaskError>) -> bool {
        let Some(TaskError::Bucket(failure)) = failed else {
            return false;
        };
        if self.since.elapsed() >= PATIENCE {
            return false;
        }
        warn!(error = %failure, "cannot {}; trying again", self.what);
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        true
    }
}

/// Why a task ended before its agent could.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The caller can know and may mend it.
    #[error("{message}")]
    Told {
        /// As in the record.
        reason: Reason,
        /// A sentence for the caller, free of secrets.
        message: String,
    },
    /// A fault of ours or of the machine; the caller is told that much only.
    #[error("{what}: {source}")]
    Fault {
        /// What was being done.
        what: &'static str,
        /// The cause, for the log.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody wants the end.
    #[error("interrupted: {0:?}")]
    Interrupted(Cause),
}

impl Failure {
    fn told(reason: Reason, message: impl Into<String>) -> Self {
        Self::Told {
            reason,
            message: message.into(),
        }
    }

    fn fault(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Fault {
            what,
            source: source.into(),
        }
    }

    fn into_ending(self, id: &TaskId) -> Ending {
        match self {
            Self::Told { reason, message } => {
                info!(task = %id, ?reason, "task failed before its agent ended");
                Ending::failed(reason, message)
            }
            Self::Fault { what, source } => {
                error!(task = %id, what, error = %source, "internal fault");
                Ending::failed(
                    Reason::Internal,
                    format!("Gatehouse failed while {what}; the operator's log says why"),
                )
            }
            Self::Interrupted(cause) => cause.into_ending(),
        }
    }
}
