//! Reading an event log while it grows.

use std::sync::Arc;

use bytes::Bytes;

use super::tail::Tail;
use super::{Record, TaskError, TaskId, Tasks, chunks};

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

/// One follower of one task's log; holds at most one chunk in memory.
///
/// Reads what is there already from the bucket, and waits for the rest with everybody else who follows the
/// task here.
#[derive(Debug)]
pub struct Follower {
    tasks: Tasks,
    id: TaskId,
    after: u64,
    /// Number of the next line of the log, given or not; where no chunk is open, the next one's name.
    next: u64,
    /// What is left of the open chunk.
    chunk: Bytes,
    /// Whether the place of the first line was found.
    begun: bool,
    /// Since everything that was there was read.
    tail: Option<Arc<Tail>>,
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
            begun: false,
            tail: None,
            end: None,
        }
    }

    /// Waits for the next step. Cancel-safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Step, TaskError> {
        loop {
            // Before the look, so that nothing is missed.
            let changes = self.tail.as_ref().map(|tail| tail.changes());
            if let Some(step) = self.ready().await? {
                return Ok(step);
            }
            match (changes, &self.tail) {
                (Some(changes), Some(_)) => changes.next().await,
                // There was none yet, or it has failed.
                _ => self.tail = Some(self.tasks.tail(&self.id, self.next)),
            }
        }
    }

    /// The next step if it is there already; none where one would have to wait.
    pub async fn ready(&mut self) -> Result<Option<Step>, TaskError> {
        if !self.begun {
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
            self.end = match &self.tail {
                Some(tail) if tail.has_failed() => {
                    // By itself the follower learns why, or that it is over.
                    self.tail = None;
                    continue;
                }
                Some(tail) => tail.end(),
                None => Some(Box::new(self.record().await?))
                    .filter(|record| record.status.is_terminal()),
            };
            if self.end.is_none() {
                return Ok(None);
            }
        }
    }

    /// Finds the place.
    async fn begin(&mut self) -> Result<(), TaskError> {
        let record = self.record().await?;
        let wanted = self.after.saturating_add(1);
        if self.after > 0
            && let Some(first) =
                chunks::holding(self.tasks.bucket().as_ref(), &self.id, wanted).await?
        {
            self.next = first;
        }
        self.end = Some(Box::new(record)).filter(|record| record.status.is_terminal());
        self.begun = true;
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
        if let Some(tail) = &self.tail {
            if let Some(chunk) = tail.chunk(self.next) {
                self.chunk = chunk;
                return Ok(true);
            }
            if !tail.has_passed(self.next) {
                return Ok(false);
            }
        }
        let found = chunks::read(self.tasks.bucket().as_ref(), &self.id, self.next).await?;
        let Some((chunk, _lines)) = found else {
            return Ok(false);
        };
        self.chunk = chunk;
        Ok(true)
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
