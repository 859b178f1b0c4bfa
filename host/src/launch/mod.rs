//! Starting jobs and knowing what became of them.
//!
//! [`Launcher`] is how a job is started: a sub-process here, a Cloud Run execution in the cloud.
//! [`Dispatcher`] is when: a bounded, durable queue, a number of places, recovery after a restart.
//! Does not know HTTP or what a job does.

mod attend;
#[cfg(feature = "gcp")]
mod cloud_run;
mod damaged;
mod dispatcher;
mod duty;
mod job_logs;
mod local;
mod look;
mod process;
mod queue;
mod reconcile;
mod status;
mod watch;

use std::time::Duration;

use async_trait::async_trait;

use crate::task::{Record, TaskId};

#[cfg(feature = "gcp")]
pub use cloud_run::CloudRunLauncher;
pub use dispatcher::{Cancelled, Dispatcher, Full, Place, QueueFull};
pub use local::LocalLauncher;
pub use queue::Owner;
pub use reconcile::Reconciled;
pub use status::QueueStatus;

/// A job could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It could not be however often it was tried: its task fails.
    #[error("the job cannot be started: {detail}")]
    Refused {
        /// For the caller: no internals.
        told: &'static str,
        /// For the log: what the operator is to do.
        detail: String,
    },
    /// Not now, and no job was left behind that would work: its task waits on.
    #[error("no job can be started for now: {0}")]
    NotNow(String),
}

/// Starts jobs with nothing but the task's id and its payload's path.
#[async_trait]
pub trait Launcher: std::fmt::Debug + Send + Sync {
    /// Starts the job of a task whose record says that it is being started; the name by which it can be
    /// found again. Where several gateways share the jobs, one that was started under another
    /// [`Record::run_id`] than the record's own does nothing.
    async fn start(&self, record: &Record) -> Result<String, LaunchError>;

    /// The job that was started under the record's [`Record::run_id`] by a gateway that could not note
    /// its name any more; none where there is none or nobody can know.
    async fn find(&self, _record: &Record) -> Result<Option<String>, LaunchError> {
        Ok(None)
    }

    /// Whether other gateways watch over the same jobs.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether the job of this record is known to run no more.
    async fn is_gone(&self, record: &Record) -> bool;

    /// Waits until the job of this record runs no more. Also for jobs that an earlier gateway
    /// started. Returns at once where there is none.
    async fn gone(&self, record: &Record);

    /// Ends the job by force, where its own end upon a cancel request took too long.
    async fn kill(&self, record: &Record);

    /// Removes what a dead job left on this machine: processes, workspace.
    async fn sweep(&self, id: &TaskId);
}

/// How long after `timeoutMinutes` a job is taken for hanging: more than it takes to end the agent and
/// to wait for a storage that fails for a while. While it carries out actions, which have limits of their
/// own, it is given the second time as well; so is a job that acts while its task is cancelled.
const HANGS_AFTER: Duration = if cfg!(test) {
    Duration::from_millis(100)
} else {
    Duration::from_secs(15 * 60)
};
const ACTIONS_HANG_AFTER: Duration = Duration::from_secs(60 * 60);

/// The task's own time, `longest` where its record does not say.
fn time_of(record: &Record, longest: Duration) -> Duration {
    let minutes = record.effective.get("timeoutMinutes");
    minutes
        .and_then(serde_json::Value::as_u64)
        .map_or(longest, |minutes| {
            Duration::from_secs(minutes.saturating_mul(60))
        })
}

#[cfg(test)]
mod tests;
