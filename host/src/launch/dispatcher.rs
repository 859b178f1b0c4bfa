//! The queue in front of the launcher.

use std::sync::Arc;
use std::time::Duration;

use super::Launcher;
use crate::config::Config;
use crate::task::{Record, TaskError, TaskId, Tasks};
use crate::webhook::Courier;

/// A place in the queue, held from before the task is stored; dropped unused it is free again.
#[derive(Debug)]
pub struct Place {}

/// Every place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull {
    /// When one may be free, from how long recent tasks took.
    pub retry_after: Duration,
}

/// For `/tasks/status`.
#[derive(Clone, Debug, Default)]
pub struct QueueStatus {
    /// Tasks this gateway knows to be unfinished: waiting, starting or running; oldest first.
    pub tasks: Vec<Record>,
    /// Of them, waiting.
    pub waiting: usize,
    /// Of them, with a job.
    pub running: usize,
    /// `queue.max_concurrent`
    pub max: usize,
}

/// What a cancel request met.
#[derive(Clone, Debug)]
pub enum Cancelled {
    /// The task is over as cancelled, or its job was told to end.
    Requested(Box<Record>),
    /// It was asked before.
    Already(Box<Record>),
    /// It had ended.
    Over(Box<Record>),
    /// There is no such task.
    Unknown,
}

/// Starts queued tasks as places free up, watches their jobs, ends what died.
#[derive(Debug)]
pub struct Dispatcher {}

impl Dispatcher {
    /// Takes up every unfinished task of the bucket: queues what no job holds, watches what one
    /// does, ends as `lost` what one held and died, settles what was over.
    pub async fn start(
        _config: &Config,
        _tasks: Tasks,
        _launcher: Arc<dyn Launcher>,
        _courier: Arc<Courier>,
    ) -> Result<Arc<Self>, TaskError> {
        unimplemented!()
    }

    /// Takes a place for a task that is about to be stored.
    pub fn reserve(&self) -> Result<Place, QueueFull> {
        unimplemented!()
    }

    /// Queues a stored task.
    pub fn submit(&self, _place: Place, _id: TaskId) {
        unimplemented!()
    }

    /// Asks for the end of a task: one that waits ends at once, one with a job ends by its job.
    pub async fn cancel(&self, _id: &TaskId, _by: &str) -> Result<Cancelled, TaskError> {
        unimplemented!()
    }

    /// What is unfinished.
    pub async fn status(&self) -> Result<QueueStatus, TaskError> {
        unimplemented!()
    }

    /// Starts no more jobs; those that run go on without us.
    pub async fn stop(&self) {
        unimplemented!()
    }
}
