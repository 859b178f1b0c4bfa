//! Reading an event log while it grows.

use std::time::Duration;

use bytes::Bytes;

use super::{Record, TaskError, TaskId, Tasks, chunks, names};
use crate::bucket::Watch;

/// How long to wait for a hint before looking again: doubles from the first to the last while
/// nothing comes.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LAST_PAUSE: Duration = Duration::from_secs(1);

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
    tasks: Tasks,
    id: TaskId,
    after: u64,
    /// Number of the next line of the log, given or not; where no chunk is open, the next one's name.
    next: u64,
    /// What is left of the open chunk.
    chunk: Bytes,
    /// None until the first look.
    watch: Option<Watch>,
    pause: Duration,
    /// The terminal record, once seen.
    end: Option<Box<Record>>,
}

impl Follower {
    /// Begins after the given sequence number; 0 for the whole log.
    pub fn new(tasks: Tasks, id: TaskId, after: u64) -> Self {
        Self {
            tasks,
            id,
            after,
            next: 1,
            chunk: Bytes::new(),
            watch: None,
            pause: FIRST_PAUSE,
            end: None,
        }
    }

    /// Waits for the next step. Cancel-safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Step, TaskError> {
        loop {
            if let Some(step) = self.ready().await? {
                self.pause = FIRST_PAUSE;
                return Ok(step);
            }
            let pause = self.pause;
            self.pause = (pause * 2).min(LAST_PAUSE);
            match &mut self.watch {
                Some(watch) => watch.changed(pause).await,
                None => tokio::time::sleep(pause).await,
            }
        }
    }

    /// The next step if it is there already; none where one would have to wait.
    pub async fn ready(&mut self) -> Result<Option<Step>, TaskError> {
        if self.watch.is_none() {
            self.begin().await?;
        }
        loop {
            if let Some(event) = self.take_event() {
                return Ok(Some(Step::Event(event)));
            }
            if let Some(record) = self
                .end
                .as_ref()
                .filter(|record| self.is_past_the_end(record))
            {
                return Ok(Some(Step::End(record.clone())));
            }
            if self.open_chunk().await? {
                continue;
            }
            // The log was looked at once more since the record was seen to be terminal. Where lines
            // are missing nevertheless, they will not come.
            if let Some(record) = &self.end {
                return Ok(Some(Step::End(record.clone())));
            }
            let record = self.record().await?;
            if !record.status.is_terminal() {
                return Ok(None);
            }
            self.end = Some(Box::new(record));
        }
    }

    /// Sets up the watch, before the first look so that nothing is missed, and finds the place.
    async fn begin(&mut self) -> Result<(), TaskError> {
        let record = self.record().await?;
        let bucket = self.tasks.bucket();
        let watch = bucket.watch(&names::session(&self.id));
        let wanted = self.after.saturating_add(1);
        if self.after > 0
            && let Some(first) = chunks::holding(bucket.as_ref(), &self.id, wanted).await?
        {
            self.next = first;
        }
        self.end = Some(Box::new(record)).filter(|record| record.status.is_terminal());
        self.watch = Some(watch);
        Ok(())
    }

    async fn record(&self) -> Result<Record, TaskError> {
        self.tasks
            .get(&self.id)
            .await?
            .ok_or_else(|| TaskError::Unknown(self.id.clone()))
    }

    /// Whether the last line that the record vouches for was passed. Lines after that one, from a
    /// job that was given up, are nobody's.
    fn is_past_the_end(&self, record: &Record) -> bool {
        record.last_sequence.is_some_and(|last| self.next > last)
    }

    async fn open_chunk(&mut self) -> Result<bool, TaskError> {
        let name = names::chunk(&self.id, self.next);
        let Some(chunk) = self.tasks.bucket().get(&name).await? else {
            return Ok(false);
        };
        // A loss of power may leave an empty file, which holds no line to go on with.
        let holds_lines = chunk.data.iter().any(|byte| *byte != b'\n');
        if holds_lines {
            self.chunk = chunk.data;
        }
        Ok(holds_lines)
    }

    /// The next line of the open chunk that was not asked to be left out.
    fn take_event(&mut self) -> Option<Event> {
        while !self.chunk.is_empty() {
            if self
                .end
                .as_ref()
                .is_some_and(|record| self.is_past_the_end(record))
            {
                return None;
            }
            let length = self
                .chunk
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(self.chunk.len());
            let line = self.chunk.split_to(length);
            let _newline = self.chunk.split_to(self.chunk.len().min(1));
            if line.is_empty() {
                continue;
            }
            let sequence = self.next;
            self.next += 1;
            if sequence > self.after {
                return Some(Event { sequence, line });
            }
        }
        None
    }
}
