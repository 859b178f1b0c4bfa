//! Records in the bucket: created once, changed by compare-and-set, ended once.

use std::sync::Arc;

use bytes::Bytes;

use super::{Ending, Follower, Record, Status, TaskId};
use crate::bucket::{Bucket, BucketError};

/// Why a record could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Another task has, or had, this id.
    #[error("a task `{0}` exists already")]
    Taken(TaskId),
    /// There is no such task.
    #[error("there is no task `{0}`")]
    Unknown(TaskId),
    /// The stored record cannot be read.
    #[error("the record of `{id}` is damaged: {detail}")]
    Damaged {
        /// The task.
        id: TaskId,
        /// For the log.
        detail: String,
    },
    /// The storage failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// What [`Tasks::update`] left behind.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The record as it stands now.
    pub record: Record,
    /// False where the closure wanted no change or the task was over already.
    pub changed: bool,
}

/// Who ended the task.
#[derive(Clone, Debug)]
pub enum Finished {
    /// This call did; the record is terminal now and by this ending.
    ByUs(Box<Record>),
    /// It was over before; this ending is dropped.
    Before(Box<Record>),
}

/// Which records to list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only this status.
    pub status: Option<Status>,
    /// At most so many.
    pub limit: usize,
    /// [`Page::next`] of the page before.
    pub cursor: Option<String>,
}

/// One page of records, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The records.
    pub tasks: Vec<Record>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// The tasks of a bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    bucket: Arc<dyn Bucket>,
}

impl Tasks {
    /// The tasks kept in `bucket`.
    pub fn new(bucket: Arc<dyn Bucket>) -> Self {
        Self { bucket }
    }

    /// The bucket itself, for what else is kept of a task.
    pub fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.bucket
    }

    /// Stores the sealed payload, then the record, then the index entry, each only if absent.
    /// After it returns, the task survives any crash.
    pub async fn create(&self, _record: &Record, _payload: Bytes) -> Result<(), TaskError> {
        unimplemented!()
    }

    /// The record, if there is one.
    pub async fn get(&self, _id: &TaskId) -> Result<Option<Record>, TaskError> {
        unimplemented!()
    }

    /// The sealed payload, while the task is not over.
    pub async fn payload(&self, _id: &TaskId) -> Result<Option<Bytes>, TaskError> {
        unimplemented!()
    }

    /// Changes the record by compare-and-set; `change` may run several times and says whether it
    /// wants its change written. A terminal record is never changed.
    pub async fn update(
        &self,
        _id: &TaskId,
        _change: impl FnMut(&mut Record) -> bool + Send,
    ) -> Result<Updated, TaskError> {
        unimplemented!()
    }

    /// Notes that somebody wants the end of the task. The job sees it by watching its record.
    pub async fn request_cancel(&self, _id: &TaskId, _by: &str) -> Result<Updated, TaskError> {
        unimplemented!()
    }

    /// Makes the record terminal, unless it is already, and settles it.
    pub async fn finish(&self, _id: &TaskId, _ending: Ending) -> Result<Finished, TaskError> {
        unimplemented!()
    }

    /// What follows from a terminal record, safe to repeat after a crash: the outbox entry where a
    /// report is due (create-if-absent), then everything below `tasks/{id}/` goes.
    pub async fn settle(&self, _record: &Record) -> Result<(), TaskError> {
        unimplemented!()
    }

    /// Records with something left to do, oldest first: those with an object below `tasks/`. A
    /// payload without a record that is older than a minute was never accepted and is deleted.
    pub async fn unfinished(&self) -> Result<Vec<Record>, TaskError> {
        unimplemented!()
    }

    /// A page of records, newest first.
    pub async fn list(&self, _query: &ListQuery) -> Result<Page, TaskError> {
        unimplemented!()
    }

    /// Reads the task's events after the given sequence number, and then its end.
    pub fn follow(&self, id: &TaskId, after: u64) -> Follower {
        Follower::new(self.clone(), id.clone(), after)
    }
}
