//! Starting jobs and knowing what became of them.
//!
//! [`Launcher`] is how a job is started: a sub-process here, a Cloud Run execution in the cloud.
//! [`Dispatcher`] is when: a bounded, durable queue, a number of places, recovery after a restart.
//! Does not know HTTP or what a job does.

mod attend;
mod damaged;
mod dispatcher;
mod job_logs;
mod local;
mod process;
mod queue;

use async_trait::async_trait;

use crate::task::{Record, TaskId};

pub use dispatcher::{Cancelled, Dispatcher, Full, Place, QueueFull, QueueStatus};
pub use local::LocalLauncher;
pub use queue::Owner;

/// A job could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the job cannot be started: {0}")]
pub struct LaunchError(pub String);

/// Starts jobs with nothing but the task's id and its payload's path.
#[async_trait]
pub trait Launcher: std::fmt::Debug + Send + Sync {
    /// Starts the job; the name by which it can be found again.
    async fn start(&self, id: &TaskId) -> Result<String, LaunchError>;

    /// Waits until the job of this record runs no more. Also for jobs that an earlier gateway
    /// started. Returns at once where there is none.
    async fn gone(&self, record: &Record);

    /// Ends the job by force, where its own end upon a cancel request took too long.
    async fn kill(&self, record: &Record);

    /// Removes what a dead job left on this machine: processes, workspace.
    async fn sweep(&self, id: &TaskId);
}

#[cfg(test)]
mod tests;
