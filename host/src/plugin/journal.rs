//! Lines of JSON that a task leaves in the bucket: what plugins decided, and what they decided on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::bucket::{Bucket, BucketError};
use crate::task::{TaskId, names};

/// Lines that come within this time are written together.
const GATHER: Duration = Duration::from_millis(100);
/// Bytes that may wait for the bucket; beyond it lines are dropped and counted.
const WAITING: usize = 4 << 20;
/// Bytes of one task's decisions.
const DECISIONS: usize = 64 << 20;

/// The writer of one object; bounded in number and bytes, flushed in the background. What is dropped
/// is counted, and the log's last line says so: `{"at": …, "dropped": n}`.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
}

#[derive(Debug)]
struct Shared {
    max: u32,
    max_bytes: usize,
    bytes: AtomicUsize,
    kept: AtomicU32,
    dropped: AtomicU32,
    /// Bytes that were added and are not written yet: what bounds the channel.
    waiting: AtomicUsize,
}

#[derive(Debug)]
enum Order {
    Lines(Vec<u8>),
    Close(oneshot::Sender<Result<(), BucketError>>),
}

impl Journal {
    /// What plugins decided about a task.
    pub fn of_decisions(bucket: Arc<dyn Bucket>, id: &TaskId, max: u32) -> Self {
        Self::open(bucket, names::decisions(id), max, DECISIONS)
    }

    /// Keeps at most `max` lines and `max_bytes` of them in the object `name`; one last line says how many
    /// were dropped. To be called on the runtime: the writer is a task of its own and ends with the last
    /// clone.
    pub fn open(bucket: Arc<dyn Bucket>, name: String, max: u32, max_bytes: usize) -> Self {
        let shared = Arc::new(Shared {
            max,
            max_bytes,
            bytes: AtomicUsize::new(0),
            kept: AtomicU32::new(0),
            dropped: AtomicU32::new(0),
            waiting: AtomicUsize::new(0),
        });
        let (orders, received) = mpsc::unbounded_channel();
        let writer = Writer {
            bucket,
            name,
            shared: shared.clone(),
        };
        tokio::spawn(writer.run(received));
        Self { shared, orders }
    }

    /// Adds lines; never waits for the bucket.
    pub fn add(&self, items: &[impl Serialize]) {
        let mut lines = Vec::new();
        for item in items {
            match serde_json::to_vec(item) {
                Ok(line) if self.shared.take_place(line.len()) => {
                    lines.extend(line);
                    lines.push(b'\n');
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "a line cannot be written"),
            }
        }
        if lines.is_empty() {
            return;
        }
        self.shared
            .waiting
            .fetch_add(lines.len(), Ordering::Relaxed);
        if self.orders.send(Order::Lines(lines)).is_err() {
            tracing::error!("the writer of lines is gone");
        }
    }

    /// Writes what is left.
    pub async fn close(&self) -> Result<(), BucketError> {
        let (done, closed) = oneshot::channel();
        if self.orders.send(Order::Close(done)).is_err() {
            return Ok(());
        }
        closed.await.unwrap_or(Ok(()))
    }
}

impl Shared {
    fn take_place(&self, length: usize) -> bool {
        let room = self.waiting.load(Ordering::Relaxed) < WAITING
            && self.bytes.load(Ordering::Relaxed).saturating_add(length) <= self.max_bytes;
        let next = |kept: u32| (room && kept < self.max).then_some(kept + 1);
        let taken = self
            .kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok();
        if taken {
            self.bytes.fetch_add(length, Ordering::Relaxed);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

struct Writer {
    bucket: Arc<dyn Bucket>,
    name: String,
    shared: Arc<Shared>,
}

impl Writer {
    async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Lines(mut lines) => {
                    let end = self.gather(&mut lines, &mut orders).await;
                    let written = self.write(lines).await;
                    match end {
                        End::Pause => {}
                        End::Gone => return,
                        End::Close(done) => self.finish(done, written).await,
                    }
                }
                Order::Close(done) => self.finish(done, Ok(())).await,
            }
        }
    }

    /// Adds what comes within a moment to `lines`.
    async fn gather(
        &self,
        lines: &mut Vec<u8>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> End {
        let until = Instant::now() + GATHER;
        loop {
            match tokio::time::timeout_at(until, orders.recv()).await {
                Ok(Some(Order::Lines(more))) => lines.extend(more),
                Ok(Some(Order::Close(done))) => return End::Close(done),
                Ok(None) => return End::Gone,
                Err(_elapsed) => return End::Pause,
            }
        }
    }

    async fn write(&self, lines: Vec<u8>) -> Result<(), BucketError> {
        let length = lines.len();
        let written = self.bucket.append(&self.name, Bytes::from(lines)).await;
        self.shared.waiting.fetch_sub(length, Ordering::Relaxed);
        if let Err(error) = &written {
            tracing::warn!(name = self.name, %error, "lines were lost");
        }
        written
    }

    async fn finish(
        &self,
        done: oneshot::Sender<Result<(), BucketError>>,
        written: Result<(), BucketError>,
    ) {
        let dropped = self.shared.dropped.swap(0, Ordering::Relaxed);
        let mut result = written;
        if dropped > 0 {
            let line = serde_json::json!({ "at": Timestamp::now(), "dropped": dropped });
            let last = self
                .bucket
                .append(&self.name, Bytes::from(format!("{line}\n")))
                .await;
            result = result.and(last);
        }
        // Whoever asked may have gone.
        let _ = done.send(result);
    }
}

/// Why gathering ended.
enum End {
    Pause,
    Gone,
    Close(oneshot::Sender<Result<(), BucketError>>),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::plugin::Decision;
    use crate::plugin::memory_bucket::MemoryBucket;

    fn open(bucket: Arc<MemoryBucket>, max: u32) -> Journal {
        Journal::open(bucket, "sessions/t/decisions.jsonl".into(), max, 1 << 20)
    }

    fn decision(plugin: &str) -> Decision {
        Decision {
            at: Timestamp::UNIX_EPOCH,
            stage: "tool".into(),
            plugin: plugin.into(),
            group: None,
            causes: Vec::new(),
            digest: "d".into(),
            revision: "r".into(),
            mode: "enforce".into(),
            verdict: "allow".into(),
            enforced: true,
            reason: None,
            rule: None,
            fault: None,
            call: None,
            tool: None,
            input_sha256: None,
            approval: None,
            micros: 1,
            memory: 0,
            shadow: false,
        }
    }

    fn lines(bucket: &MemoryBucket) -> Vec<serde_json::Value> {
        let content = bucket
            .content("sessions/t/decisions.jsonl")
            .unwrap_or_default();
        content
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn decisions_of_one_moment_are_one_write() {
        let bucket = Arc::new(MemoryBucket::default());
        let log = open(bucket.clone(), 10);
        log.add(&[decision("a")]);
        log.add(&[decision("b"), decision("c")]);
        log.close().await.unwrap();
        assert_eq!(lines(&bucket).len(), 3);
        assert_eq!(bucket.appends(), 1);
        let back: Decision = serde_json::from_value(lines(&bucket).remove(0)).unwrap();
        assert_eq!(back, decision("a"));
    }

    #[tokio::test]
    async fn the_last_line_says_how_many_were_dropped() {
        let bucket = Arc::new(MemoryBucket::default());
        let log = open(bucket.clone(), 2);
        for _ in 0..5 {
            log.add(&[decision("a")]);
        }
        log.close().await.unwrap();
        let lines = lines(&bucket);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines.last().unwrap().get("dropped").unwrap(), 3);
    }

    #[tokio::test]
    async fn what_is_too_long_for_what_is_left_is_dropped_and_counted() {
        let bucket = Arc::new(MemoryBucket::default());
        let name = "sessions/t/decisions.jsonl".to_owned();
        let log = Journal::open(bucket.clone(), name, 10, 8);
        log.add(&["1234", "far too long", "5"]);
        log.close().await.unwrap();
        assert_eq!(lines(&bucket)[..1], ["1234"]);
        assert_eq!(lines(&bucket)[1].get("dropped").unwrap(), 2);
    }

    #[tokio::test]
    async fn decisions_are_written_without_anybody_closing_the_log() {
        let bucket = Arc::new(MemoryBucket::default());
        let log = open(bucket.clone(), 10);
        log.add(&[decision("a")]);
        bucket.appended().await;
        assert_eq!(lines(&bucket).len(), 1);
    }

    #[tokio::test]
    async fn a_bucket_that_fails_is_reported_when_the_log_is_closed() {
        let bucket = Arc::new(MemoryBucket::failing());
        let log = open(bucket, 10);
        log.add(&[decision("a")]);
        assert!(log.close().await.is_err());
    }
}
