//! Writing the event log: redacted, numbered, in chunks with predictable names.

use std::sync::Arc;
use std::time::Duration;

use super::{TaskError, TaskId};
use crate::bucket::Bucket;
use crate::redact::Redactor;

/// When chunks are written and how much a log may hold.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Lines that come within this time of a flush are gathered.
    pub flush_interval: Duration,
    /// Bytes that are flushed at once whatever the time.
    pub flush_size: u64,
    /// Beyond it lines are dropped and counted.
    pub max_size: u64,
}

/// The one writer of a task's log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventLog {}

impl EventLog {
    /// An empty log, or one that goes on after what an earlier attempt left.
    pub async fn open(
        _bucket: Arc<dyn Bucket>,
        _id: TaskId,
        _limits: LogLimits,
        _redactor: Arc<Redactor>,
    ) -> Result<Self, TaskError> {
        unimplemented!()
    }

    /// Appends one line, without its newline. What is no JSON becomes `{"type":"text","content":…}`.
    /// Waits only while more than a few chunks are unwritten.
    pub async fn append(&self, _line: &[u8]) {
        unimplemented!()
    }

    /// Appends a line of ours: `{"type":"gatehouse", …}`.
    pub async fn say(&self, _fields: serde_json::Value) {
        unimplemented!()
    }

    /// Writes what is left; the number of the last line. The log takes no more after it.
    pub async fn close(&self) -> Result<u64, TaskError> {
        unimplemented!()
    }
}
