//! Writing the event log: redacted, numbered, in chunks with predictable names.
//!
//! A line is made ready where it is appended; one task of its own ([`super::writer`]) numbers the
//! lines and writes them, so that the agent's output is never held up by one slow write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::writer::{Message, Writer};
use super::{TaskError, TaskId, chunks, line};
use crate::bucket::Bucket;
use crate::redact::Redactor;

/// Unwritten bytes that are let into memory, in chunks.
const UNWRITTEN_CHUNKS: u64 = 4;
/// What a line costs in memory besides its bytes.
const LINE_OVERHEAD: usize = 64;

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
pub struct EventLog {
    redactor: Arc<Redactor>,
    messages: mpsc::UnboundedSender<Message>,
    /// One permit per byte; what bounds the channel.
    room: Arc<Semaphore>,
    room_size: u32,
    closing: CancellationToken,
    written: Arc<AtomicU64>,
}

impl EventLog {
    /// An empty log, or one that goes on after what an earlier attempt left.
    pub async fn open(
        bucket: Arc<dyn Bucket>,
        id: TaskId,
        limits: LogLimits,
        redactor: Arc<Redactor>,
    ) -> Result<Self, TaskError> {
        let end = chunks::end(bucket.as_ref(), &id).await?;
        let room_size = limits
            .flush_size
            .saturating_mul(UNWRITTEN_CHUNKS)
            .clamp(1, Semaphore::MAX_PERMITS as u64);
        let room_size = u32::try_from(room_size).unwrap_or(u32::MAX);
        let closing = CancellationToken::new();
        let (messages, received) = mpsc::unbounded_channel();
        let written = Arc::new(AtomicU64::new(end.last_sequence));
        let writer = Writer::new(
            bucket,
            id,
            limits,
            end,
            closing.clone(),
            Arc::clone(&written),
        );
        tokio::spawn(writer.run(received));
        let room = Arc::new(Semaphore::new(room_size as usize));
        Ok(Self {
            redactor,
            messages,
            room,
            room_size,
            closing,
            written,
        })
    }

    /// Appends one line, without its newline. What is no JSON becomes `{"type":"text","content":…}`,
    /// what is blank is dropped. Waits only while more than a few chunks are unwritten.
    pub async fn append(&self, line: &[u8]) {
        let redacted = self.redactor.line(line);
        let Some(line) = line::normal(&redacted) else {
            return;
        };
        // A line larger than the whole room waits until it is alone.
        let size = u32::try_from(line.len() + LINE_OVERHEAD)
            .unwrap_or(u32::MAX)
            .min(self.room_size);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(size).await else {
            return;
        };
        // It fails only once the log is closed.
        let _ = self.messages.send(Message::Line {
            line: line.into_owned(),
            room,
        });
    }

    /// What takes secrets out of the lines.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Appends a line of ours: `{"type":"gatehouse", …}` with the fields of a JSON object.
    pub async fn say(&self, fields: Value) {
        self.append(ours(fields).to_string().as_bytes()).await;
    }

    /// Writes what is left; the number of the last line. The log takes no more after it.
    ///
    /// Fails where the storage did not take the rest within half a minute, or where somebody else
    /// wrote into the log; what came before the failure is whole. Only the first call is told of it,
    /// later ones get the number of the last line that was written.
    pub async fn close(&self) -> Result<u64, TaskError> {
        self.closing.cancel();
        let (answer, answered) = oneshot::channel();
        if self.messages.send(Message::Close(answer)).is_ok()
            && let Ok(result) = answered.await
        {
            return result;
        }
        Ok(self.written.load(Ordering::Acquire))
    }
}

/// A line of ours with these fields.
pub(super) fn ours(fields: Value) -> Value {
    let mut line = Map::from_iter([("type".to_owned(), Value::from("gatehouse"))]);
    match fields {
        Value::Object(fields) => line.extend(fields.into_iter().filter(|(name, _)| name != "type")),
        other => drop(line.insert("value".to_owned(), other)),
    }
    Value::Object(line)
}
