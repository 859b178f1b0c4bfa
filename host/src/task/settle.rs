//! What follows once a task is over, and finding what a crash left to do.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::{Record, TaskError, TaskId, Tasks, names};
use crate::bucket::{BucketError, Durability, Entry, When};
use crate::webhook;

/// Names read at once.
const PAGE: usize = 1000;
/// Records read at once.
const CONCURRENT: usize = 16;
/// Between a payload and its record passes less than this, or its creator is gone.
const NEVER_ACCEPTED_AFTER: Duration = Duration::from_secs(60);

impl Tasks {
    /// What follows from a terminal record, safe to repeat after a crash: the index entry if it is
    /// missing, the outbox entry where a report is due (create-if-absent), then everything below
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
            let data = serde_json::to_vec(&entry).map_err(|error| TaskError::Damaged {
                id: id.clone(),
                detail: error.to_string(),
            })?;
            let outbox = names::outbox(id);
            match self
                .bucket()
                .put(&outbox, Bytes::from(data), When::Absent, Durability::Synced)
                .await
            {
                Ok(_) | Err(BucketError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
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

    /// Records with something left to do, oldest first: those with an object below `tasks/`. A
    /// payload without a record that is older than a minute was never accepted and is deleted.
    /// A record that cannot be read is left out, with a warning.
    pub async fn unfinished(&self) -> Result<Vec<Record>, TaskError> {
        let mut objects = BTreeMap::<TaskId, Vec<Entry>>::new();
        for entry in self.everything_below("tasks/").await? {
            match names::task_of_transient(&entry.name) {
                Some(id) => objects.entry(id).or_default().push(entry),
                None => tracing::warn!(name = entry.name, "belongs to no task"),
            }
        }
        let found: Vec<Option<Record>> = futures::stream::iter(objects)
            .map(|(id, entries)| async move { self.record_or_clean_up(&id, &entries).await })
            .buffer_unordered(CONCURRENT)
            .try_collect()
            .await?;
        let mut records: Vec<Record> = found.into_iter().flatten().collect();
        records.sort_by(|a, b| (a.created_at, &a.task_id).cmp(&(b.created_at, &b.task_id)));
        Ok(records)
    }

    async fn record_or_clean_up(
        &self,
        id: &TaskId,
        objects: &[Entry],
    ) -> Result<Option<Record>, TaskError> {
        match self.get(id).await {
            Ok(Some(record)) => return Ok(Some(record)),
            Ok(None) => {}
            Err(TaskError::Damaged { detail, .. }) => {
                tracing::warn!(task = %id, detail, "an unfinished task has a damaged record");
                return Ok(None);
            }
            Err(error) => return Err(error),
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
