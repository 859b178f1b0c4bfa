//! Reading an event log while it grows.

use bytes::Bytes;

use super::{Record, TaskError, TaskId, Tasks};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// From 1, rising by one.
    pub sequence: u64,
    /// The line without its newline.
    pub line: Bytes,
}

/// What a follower learns next.
#[derive(Clone, Debug)]
pub enum Step {
    /// The next line.
    Event(Event),
    /// Every line was given and the task is over.
    End(Box<Record>),
}

/// One reader of one task's log; holds at most one chunk in memory.
#[derive(Debug)]
pub struct Follower {
    #[expect(dead_code)]
    tasks: Tasks,
    #[expect(dead_code)]
    id: TaskId,
    #[expect(dead_code)]
    after: u64,
}

impl Follower {
    /// Begins after the given sequence number; 0 for the whole log.
    pub fn new(tasks: Tasks, id: TaskId, after: u64) -> Self {
        Self { tasks, id, after }
    }

    /// Waits for the next step. Cancel-safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Step, TaskError> {
        unimplemented!()
    }

    /// The next step if it is there already; none where one would have to wait.
    pub async fn ready(&mut self) -> Result<Option<Step>, TaskError> {
        unimplemented!()
    }
}
