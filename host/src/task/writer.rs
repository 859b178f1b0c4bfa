//! The task that numbers lines and writes chunks.
//!
//! A line that comes after a quiet time is written at once; those that follow closely are gathered.
//! A chunk that the storage refuses is tried again until it takes it, so nothing is lost or
//! reordered; meanwhile the log fills its bounded room and then holds up whoever appends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::chunks::End;
use super::{LogLimits, TaskError, TaskId, events, names};
use crate::bucket::{Bucket, BucketError, Durability, When};

/// Between two tries of a chunk: doubles from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// A log that is being closed gives up after trying for this long.
const CLOSE_LIMIT: Duration = if cfg!(test) {
    Duration::from_millis(200)
} else {
    Duration::from_secs(5 * 60)
};

/// What [`super::EventLog`] asks for.
#[derive(Debug)]
pub(super) enum Message {
    /// A line that is ready for the log; its room is free again once it is written.
    Line {
        line: Vec<u8>,
        room: OwnedSemaphorePermit,
    },
    /// Write what is left and answer with the number of the last line.
    Close(oneshot::Sender<Result<u64, TaskError>>),
}

pub(super) struct Writer {
    bucket: Arc<dyn Bucket>,
    id: TaskId,
    limits: LogLimits,
    closing: CancellationToken,
    written: Arc<AtomicU64>,
    /// Lines that are not written yet, each ended by `\n`.
    gathered: Vec<u8>,
    /// How many they are, and the number of the first.
    lines: u64,
    first: u64,
    room: Option<OwnedSemaphorePermit>,
    /// Bytes in the log, gathered ones included.
    size: u64,
    dropped_lines: u64,
    dropped_bytes: u64,
    flushed_at: Option<Instant>,
    failure: Option<BucketError>,
}

impl Writer {
    pub(super) fn new(
        bucket: Arc<dyn Bucket>,
        id: TaskId,
        limits: LogLimits,
        end: End,
        closing: CancellationToken,
        written: Arc<AtomicU64>,
    ) -> Self {
        Self {
            bucket,
            id,
            limits,
            closing,
            written,
            gathered: Vec::new(),
            lines: 0,
            first: end.last_sequence + 1,
            room: None,
            size: end.size,
            dropped_lines: 0,
            dropped_bytes: 0,
            flushed_at: None,
            failure: None,
        }
    }

    /// Runs until the log is closed, or nobody is left who could append.
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        loop {
            let message = if self.gathered.is_empty() {
                messages.recv().await
            } else {
                let due = self
                    .flushed_at
                    .map_or_else(Instant::now, |at| at + self.limits.flush_interval);
                // What is queued already is taken even when it is due.
                match tokio::time::timeout_at(due, messages.recv()).await {
                    Ok(message) => message,
                    Err(_due) => {
                        self.flush().await;
                        continue;
                    }
                }
            };
            match message {
                Some(Message::Line { line, room }) => {
                    self.take(&line, room);
                    if self.gathered.len() as u64 >= self.limits.flush_size {
                        self.flush().await;
                    }
                }
                Some(Message::Close(answer)) => {
                    // Those who wait for room or append later find the log closed.
                    messages.close();
                    let result = self.close().await;
                    // Whoever asked may be gone.
                    let _ = answer.send(result);
                    return;
                }
                None => {
                    if let Err(error) = self.close().await {
                        tracing::warn!(task = %self.id, %error, "the end of an event log is lost");
                    }
                    return;
                }
            }
        }
    }

    fn take(&mut self, line: &[u8], room: OwnedSemaphorePermit) {
        let size = line.len() as u64 + 1;
        // Once a line is dropped, all that follow are: a log with a hole misleads.
        let is_full = self.dropped_lines > 0 || self.size + size > self.limits.max_size;
        if is_full || self.failure.is_some() {
            self.dropped_lines += 1;
            self.dropped_bytes += size;
            return;
        }
        self.gather(line);
        match &mut self.room {
            Some(held) => held.merge(room),
            None => self.room = Some(room),
        }
    }

    fn gather(&mut self, line: &[u8]) {
        self.gathered.extend_from_slice(line);
        self.gathered.push(b'\n');
        self.size += line.len() as u64 + 1;
        self.lines += 1;
    }

    async fn close(&mut self) -> Result<u64, TaskError> {
        if self.dropped_lines > 0 && self.failure.is_none() {
            let line = events::ours(json!({
                "event": "log_truncated",
                "droppedLines": self.dropped_lines,
                "droppedBytes": self.dropped_bytes,
            }));
            self.gather(line.to_string().as_bytes());
        }
        self.closing.cancel();
        self.flush().await;
        match self.failure.take() {
            Some(error) => Err(error.into()),
            None => Ok(self.first - 1),
        }
    }

    async fn flush(&mut self) {
        let chunk = Bytes::from(std::mem::take(&mut self.gathered));
        let lines = std::mem::take(&mut self.lines);
        let room = self.room.take();
        if lines == 0 {
            return;
        }
        // What comes while this chunk is being written has waited for as long when it is.
        self.flushed_at = Some(Instant::now());
        match self.store(chunk).await {
            Ok(()) => {
                self.first += lines;
                self.written.store(self.first - 1, Ordering::Release);
            }
            Err(error) => {
                tracing::error!(task = %self.id, %error, lines, "the event log takes no more");
                self.failure = Some(error);
            }
        }
        drop(room);
    }

    async fn store(&self, chunk: Bytes) -> Result<(), BucketError> {
        let name = names::chunk(&self.id, self.first);
        let mut pause = FIRST_RETRY;
        let mut give_up_at = None;
        loop {
            let failure = match self
                .bucket
                .put(&name, chunk.clone(), When::Absent, Durability::Buffered)
                .await
            {
                Ok(_) => return Ok(()),
                // An earlier try that seemed to fail was stored after all, or the log has two writers.
                Err(BucketError::Conflict(_)) => match self.bucket.get(&name).await {
                    Ok(Some(found)) if found.data == chunk => return Ok(()),
                    Ok(Some(_)) => return Err(BucketError::Conflict(name)),
                    Ok(None) => BucketError::Conflict(name.clone()),
                    Err(failure) => failure,
                },
                Err(failure @ BucketError::Io { .. }) => failure,
                Err(failure) => return Err(failure),
            };
            let now = Instant::now();
            if self.closing.is_cancelled() && now >= *give_up_at.get_or_insert(now + CLOSE_LIMIT) {
                return Err(failure);
            }
            tracing::warn!(task = %self.id, error = %failure, "a chunk of the event log is tried again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }
}
