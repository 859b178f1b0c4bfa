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
use crate::task::{Ending, Finished, Lease, Reason, TaskError, TaskId, Tasks};

use interrupt::{Cause, Interrupt};
use work::Work;

/// The storage may fail for so long before a job gives up and leaves its task to the gateway.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Between two tries: grows from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);

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

    /// Does the task and writes its end. An error means that the end could not be written: the
    /// gateway will find the task lost.
    #[tracing::instrument(name = "job", skip_all, fields(task = %id, stage = tracing::field::Empty))]
    pub async fn run(self, id: TaskId) -> Result<(), TaskError> {
        let Some(lease) =
            Lease::take(Arc::clone(self.tasks.bucket()), &id, self.config.job.lease).await?
        else {
            info!("another job holds the lease; nothing to do");
            return Ok(());
        };
        let Some(record) = self.tasks.get(&id).await? else {
            return Err(TaskError::Unknown(id));
        };
        if record.status.is_terminal() {
            return self.tasks.settle(&record).await;
        }

        let interrupt = Interrupt::watch(&self.tasks, &id, lease, self.config.job.heartbeat);
        let mut work = Work::new(&self, &id, interrupt.clone());
        let ending = match work.until_the_end().await {
            Ok(ending) => ending,
            Err(failure) => failure.into_ending(&id),
        };
        // Only now, with no process of the agent left, is it safe to say how it ended.
        match interrupt.cause() {
            Some(Cause::LeaseLost) => warn!("the lease was lost; its new holder reports"),
            Some(Cause::RecordLost) => warn!("the record is damaged; the gateway reports"),
            _ => report(&self.tasks, &id, ending).await?,
        }
        work.clean_up().await;
        interrupt.stop();
        Ok(())
    }
}

/// Writes the end.
async fn report(tasks: &Tasks, id: &TaskId, ending: Ending) -> Result<(), TaskError> {
    let mut patience = Patience::to("write the end of the task");
    let finished = loop {
        let finished = tasks.finish(id, ending.clone()).await;
        if !patience.lasts(finished.as_ref().err()).await {
            break finished?;
        }
    };
    match finished {
        Finished::ByUs(record) => info!(
            status = record.status.as_str(),
            exit_code = record.exit_code,
            "task ended"
        ),
        Finished::Before(record) => warn!(
            status = record.status.as_str(),
            "task had been ended by somebody else"
        ),
    }
    Ok(())
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
