//! Records in the bucket: created once, changed by compare-and-set, ended once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::tail::{Tail, Tails};
use super::{
    CancelRequest, Ending, Follower, Mode, Phase, Reason, Record, Status, TaskId, chunks, names,
};
use crate::bucket::{Bucket, BucketError, Durability, Generation, When};

/// How often [`Tasks::update`] tries.
const UPDATE_TRIES: u32 = 100;

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
    /// It was over before, or goes on with somebody else; this ending is dropped.
    Before(Box<Record>),
}

/// What a record must be like to be listed: everything that is said here.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Its status.
    pub status: Option<Status>,
    /// What it is busy with.
    pub phase: Option<Phase>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// Which endpoint accepted it.
    pub mode: Option<Mode>,
    /// Who called.
    pub caller: Option<String>,
    /// Whose it is.
    pub tenant: Option<String>,
    /// Labels that it bears, each with exactly this value.
    pub labels: Vec<(String, String)>,
    /// Accepted at this moment or later.
    pub since: Option<Timestamp>,
    /// Accepted before this moment.
    pub until: Option<Timestamp>,
}

/// Which records to list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only such.
    pub filter: Filter,
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
    tails: Arc<Tails>,
}

impl Tasks {
    /// The tasks kept in `bucket`.
    pub fn new(bucket: Arc<dyn Bucket>) -> Self {
        Self {
            bucket,
            tails: Arc::default(),
        }
    }

    /// The bucket itself, for what else is kept of a task.
    pub fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.bucket
    }

    /// Stores the sealed payload, then the record, then the index entry, each only if absent.
    /// After it returns, the task survives any crash.
    ///
    /// An id is taken where a payload or a record has it; nothing of the task that has it is touched.
    pub async fn create(&self, record: &Record, payload: Bytes) -> Result<(), TaskError> {
        self.create_where(record, payload, When::Absent).await
    }

    /// The same for an id that was made up here, for this very request, by somebody who may have died
    /// between payload and record, or may be about it just now: then either's payload is right.
    pub async fn create_again(&self, record: &Record, payload: Bytes) -> Result<(), TaskError> {
        self.create_where(record, payload, When::Always).await
    }

    async fn create_where(
        &self,
        record: &Record,
        payload: Bytes,
        payload_when: When,
    ) -> Result<(), TaskError> {
        let id = &record.task_id;
        let payload_name = names::payload(id);
        let stored = match self
            .bucket
            .put(&payload_name, payload, payload_when, Durability::Synced)
            .await
        {
            Err(BucketError::Conflict(_)) => return Err(TaskError::Taken(id.clone())),
            other => other?,
        };
        let record_name = names::record(id);
        match self
            .bucket
            .put(
                &record_name,
                encode(record)?,
                When::Absent,
                Durability::Synced,
            )
            .await
        {
            Ok(_) => {}
            Err(BucketError::Conflict(_)) => {
                // A task that is over keeps its record, and only that. One that is not lives by the
                // payload that took the place of its own.
                let lives = payload_when == When::Always
                    && self
                        .get(id)
                        .await?
                        .is_some_and(|record| !record.status.is_terminal());
                if !lives {
                    match self
                        .bucket
                        .delete(&payload_name, When::Matches(stored))
                        .await
                    {
                        // Ours was replaced by that of whoever stored the record.
                        Ok(_) | Err(BucketError::Conflict(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                return Err(TaskError::Taken(id.clone()));
            }
            Err(failure) => return self.was_stored_after_all(record, failure, stored).await,
        }
        self.enter_in_index(record).await
    }

    /// The storage failed while it stored the record; its answer may have been lost only.
    async fn was_stored_after_all(
        &self,
        record: &Record,
        failure: BucketError,
        payload: Generation,
    ) -> Result<(), TaskError> {
        match self.get(&record.task_id).await {
            Ok(Some(found)) if found == *record => return self.enter_in_index(record).await,
            Ok(_) => {
                // Not ours: the payload has no purpose. Where this fails too, `unfinished` deletes it.
                let name = names::payload(&record.task_id);
                if let Err(error) = self.bucket.delete(&name, When::Matches(payload)).await {
                    tracing::warn!(task = %record.task_id, %error, "a payload without a record is left behind");
                }
            }
            // Unknown; `unfinished` finds out.
            Err(_) => {}
        }
        Err(failure.into())
    }

    /// Safe to repeat. Not synced: the index only serves listings, and [`Tasks::settle`] enters what a
    /// loss of power took.
    pub(super) async fn enter_in_index(&self, record: &Record) -> Result<(), TaskError> {
        let name = names::index(record.created_at, &record.task_id);
        match self
            .bucket
            .put(&name, Bytes::new(), When::Absent, Durability::Buffered)
            .await
        {
            Ok(_) | Err(BucketError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The record, if there is one.
    pub async fn get(&self, id: &TaskId) -> Result<Option<Record>, TaskError> {
        Ok(self.read(id).await?.map(|(record, _)| record))
    }

    async fn read(&self, id: &TaskId) -> Result<Option<(Record, Generation)>, TaskError> {
        let Some(object) = self.bucket.get(&names::record(id)).await? else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&object.data).map_err(|error| TaskError::Damaged {
            id: id.clone(),
            detail: error.to_string(),
        })?;
        Ok(Some((record, object.generation)))
    }

    /// The sealed payload, while the task is not over.
    pub async fn payload(&self, id: &TaskId) -> Result<Option<Bytes>, TaskError> {
        Ok(self
            .bucket
            .get(&names::payload(id))
            .await?
            .map(|object| object.data))
    }

    /// Changes the record by compare-and-set; `change` may run several times and says whether it
    /// wants its change written. A terminal record is never changed.
    ///
    /// Where others keep changing the record in between, it gives up with
    /// [`BucketError::Conflict`] after some seconds.
    pub async fn update(
        &self,
        id: &TaskId,
        mut change: impl FnMut(&mut Record) -> bool + Send,
    ) -> Result<Updated, TaskError> {
        let mut tries = 0;
        loop {
            let (before, generation) = self
                .read(id)
                .await?
                .ok_or_else(|| TaskError::Unknown(id.clone()))?;
            let mut record = before.clone();
            if before.status.is_terminal() || !change(&mut record) {
                return Ok(Updated {
                    record: before,
                    changed: false,
                });
            }
            let data = encode(&record)?;
            match self
                .bucket
                .put(
                    &names::record(id),
                    data,
                    When::Matches(generation),
                    Durability::Synced,
                )
                .await
            {
                Ok(_) => {
                    return Ok(Updated {
                        record,
                        changed: true,
                    });
                }
                Err(BucketError::Conflict(_)) if tries < UPDATE_TRIES => {
                    tries += 1;
                    tokio::time::sleep(jitter(tries)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Notes that somebody wants the end of the task. The job sees it by watching its record.
    /// Unchanged where the task is over or somebody asked before.
    pub async fn request_cancel(&self, id: &TaskId, by: &str) -> Result<Updated, TaskError> {
        let request = CancelRequest {
            at: Timestamp::now(),
            by: by.to_owned(),
        };
        self.update(id, |record| {
            let first = record.cancel.is_none();
            record.cancel.get_or_insert_with(|| request.clone());
            first
        })
        .await
    }

    /// Makes the record terminal, unless it is already, and settles it. Where settling fails, the
    /// record is terminal all the same: call it again.
    pub async fn finish(&self, id: &TaskId, ending: Ending) -> Result<Finished, TaskError> {
        self.finish_if(id, ending, |_| true).await
    }

    /// The same for a record of which `applies` holds; another one, of a task that somebody works on meanwhile,
    /// comes back as it is.
    pub async fn finish_if(
        &self,
        id: &TaskId,
        ending: Ending,
        applies: impl Fn(&Record) -> bool + Send + Sync,
    ) -> Result<Finished, TaskError> {
        let last_sequence = match ending.last_sequence {
            Some(last) => last,
            None => chunks::end(self.bucket.as_ref(), id).await?.last_sequence,
        };
        let updated = self
            .update(id, |record| {
                let ends = applies(record);
                if ends {
                    end(record, &ending, last_sequence, Timestamp::now());
                }
                ends
            })
            .await?;
        self.settle(&updated.record).await?;
        let record = Box::new(updated.record);
        Ok(if updated.changed {
            Finished::ByUs(record)
        } else {
            Finished::Before(record)
        })
    }

    /// Reads the task's events after the given sequence number, and then its end.
    pub fn follow(&self, id: &TaskId, after: u64) -> Follower {
        Follower::new(self.clone(), id.clone(), after)
    }

    /// What the followers of one log share, from the line `next` on where there is none yet.
    pub(super) fn tail(&self, id: &TaskId, next: u64) -> Arc<Tail> {
        self.tails.join(self, id, next)
    }
}

pub(super) fn encode(record: &Record) -> Result<Bytes, TaskError> {
    serde_json::to_vec_pretty(record)
        .map(Bytes::from)
        .map_err(|error| TaskError::Damaged {
            id: record.task_id.clone(),
            detail: error.to_string(),
        })
}

pub(super) fn end(record: &mut Record, ending: &Ending, last_sequence: u64, now: Timestamp) {
    // A clock that was set back does not let a task end before it began.
    let completed_at = now.max(record.started_at.unwrap_or(record.created_at));
    record.status = ending.status;
    record.phase = Phase::Ended;
    record.pending_approvals = 0;
    record.reason = ending.reason;
    record.exit_code = Some(ending.exit_code);
    record.error.clone_from(&ending.error);
    record.agent.clone_from(&ending.agent);
    record.actions.clone_from(&ending.actions);
    record.git_commit.clone_from(&ending.git_commit);
    record.uploaded_files.clone_from(&ending.uploaded_files);
    record.completed_at = Some(completed_at);
    record.last_sequence = Some(last_sequence);
    if ending.status == Status::Cancelled {
        record.cancelled_at = Some(
            record
                .cancel
                .as_ref()
                .map_or(completed_at, |cancel| cancel.at),
        );
    }
}

/// Some time below 1, 2, 4, … 64 ms, so that those who collided do not do it again in step.
fn jitter(tries: u32) -> Duration {
    let longest = 1_000_u64 << tries.saturating_sub(1).min(6);
    // Without randomness it waits the whole time, which is right if slow.
    let random = getrandom::u64().map_or(longest, |random| random % longest);
    Duration::from_micros(random)
}
