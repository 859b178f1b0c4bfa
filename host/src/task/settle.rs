//! What follows once a task is over, and finding what a crash left to do.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;

use super::store::{encode, end};
use super::{Ending, Record, TaskError, TaskId, Tasks, chunks, names};
use crate::bucket::{BucketError, Durability, Entry, When};
use crate::webhook;

/// Names read at once.
const PAGE: usize = 1000;
/// Records read at once.
const CONCURRENT: usize = 16;
/// Between a payload and its record passes less than this, or its creator is gone.
const NEVER_ACCEPTED_AFTER: Duration = Duration::from_secs(60);

/// Tasks with something left to do: those with an object below `tasks/`.
#[derive(Clone, Debug, Default)]
pub struct Unfinished {
    /// Oldest first.
    pub records: Vec<Record>,
    /// Their records cannot be read.
    pub damaged: Vec<TaskId>,
}

impl Tasks {
    /// What follows from a terminal record, safe to repeat after a crash: the index entry if it is
    /// missing, the outbox entry where a report is due and was not handed in before, the end of what still waits for
    /// a person, then everything below
    /// `tasks/{id}/` goes. Does nothing for a record that is not terminal.
    pub async fn settle(&self, record: &Record) -> Result<(), TaskError> {
        let id = &record.task_id;
        if !record.status.is_terminal() {
            return Ok(());
        }
        // Its creator may have crashed before it came to that.
        self.enter_in_index(record).await?;
        if record.callback_url.is_some()
            && let Some(entry) = webhook::Entry::for_record(record)
        {
            webhook::hand_in(self.bucket().as_ref(), &names::outbox(id), &entry).await?;
        }
        self.expire_approvals(id).await?;
        // The payload goes last: while it stands, `unfinished` finds the task.
        let payload = names::payload(id);
        for entry in self.everything_below(&names::transient(id)).await? {
            if entry.name != payload {
                self.bucket().delete(&entry.name, When::Always).await?;
            }
        }
        self.bucket().delete(&payload, When::Always).await?;
        Ok(())
    }

    /// Ends a task whose record cannot be read, by putting `record` in its place and ending that. What
    /// was there is kept beside it, for whoever wants to know. Nothing happens where the record can be
    /// read after all.
    pub async fn end_damaged(&self, record: &Record, ending: &Ending) -> Result<(), TaskError> {
        let id = &record.task_id;
        let name = names::record(id);
        let Some(found) = self.bucket().get(&name).await? else {
            return Ok(());
        };
        if serde_json::from_slice::<Record>(&found.data).is_ok() {
            return Ok(());
        }
        self.bucket()
            .put(
                &names::damaged_record(id),
                found.data,
                When::Always,
                Durability::Synced,
            )
            .await?;
        let last_sequence = chunks::end(self.bucket().as_ref(), id).await?.last_sequence;
        let mut record = record.clone();
        end(&mut record, ending, last_sequence, Timestamp::now());
        let when = When::Matches(found.generation);
        self.bucket()
            .put(&name, encode(&record)?, when, Durability::Synced)
            .await?;
        self.settle(&record).await
    }

    /// What is left to do. A payload without a record that is older than a minute was never accepted
    /// and is deleted.
    pub async fn unfinished(&self) -> Result<Unfinished, TaskError> {
        let mut objects = BTreeMap::<TaskId, Vec<Entry>>::new();
        for entry in self.everything_below("tasks/").await? {
            match names::task_of_transient(&entry.name) {
                Some(id) => objects.entry(id).or_default().push(entry),
                None => tracing::warn!(name = entry.name, "belongs to no task"),
            }
        }
        let mut looks = futures::stream::iter(objects)
            .map(|(id, entries)| async move { self.record_or_clean_up(&id, &entries).await })
            .buffer_unordered(CONCURRENT);
        let mut unfinished = Unfinished::default();
        while let Some(found) = looks.next().await {
            match found {
                Ok(record) => unfinished.records.extend(record),
                Err(TaskError::Damaged { id, detail }) => {
                    tracing::warn!(task = %id, detail, "an unfinished task has a damaged record");
                    unfinished.damaged.push(id);
                }
                Err(error) => return Err(error),
            }
        }
        let by_age =
            |a: &Record, b: &Record| (a.created_at, &a.task_id).cmp(&(b.created_at, &b.task_id));
        unfinished.records.sort_by(by_age);
        Ok(unfinished)
    }

    async fn record_or_clean_up(
        &self,
        id: &TaskId,
        objects: &[Entry],
    ) -> Result<Option<Record>, TaskError> {
        if let Some(record) = self.get(id).await? {
            return Ok(Some(record));
        }
        let now = Timestamp::now();
        let is_old = |entry: &Entry| {
            let age = entry
                .generation
                .written_at()
                .and_then(|at| Duration::try_from(now.duration_since(at)).ok());
            age.is_some_and(|age| age > NEVER_ACCEPTED_AFTER)
        };
        if objects.iter().all(is_old) {
            for entry in objects {
                match self
                    .bucket()
                    .delete(&entry.name, When::Matches(entry.generation))
                    .await
                {
                    Ok(_) => {
                        tracing::info!(name = entry.name, "deleted: its task was never accepted")
                    }
                    // Somebody creates the task just now.
                    Err(BucketError::Conflict(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(None)
    }

    async fn everything_below(&self, prefix: &str) -> Result<Vec<Entry>, TaskError> {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let after = all.last().map(|entry| entry.name.as_str());
            let page = self.bucket().list(prefix, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }
}
