//! Every decision is one line of `decisions.jsonl`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::bucket::{Bucket, BucketError};
use crate::task::{TaskId, names};

/// Decisions that come within this time are written together.
const GATHER: Duration = Duration::from_millis(100);
/// Bytes that may wait for the bucket; beyond it decisions are dropped and counted.
const WAITING: usize = 4 << 20;

/// One answer of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// `validation`, `tool`, `approval` (a person's answer to what plugins asked) or `action`.
    pub stage: String,
    /// The plugin's name in the manifest.
    pub plugin: String,
    /// Lower-case hex SHA-256 of its component.
    pub digest: String,
    /// Revision of the set.
    pub revision: String,
    /// `enforce` or `monitor`.
    pub mode: String,
    /// `accept`, `amend`, `reject`; `abstain`, `allow`, `rewrite`, `deny`, `ask`; `ok`, `error`.
    pub verdict: String,
    /// False where the mode was `monitor` or another plugin had decided already.
    pub enforced: bool,
    /// The plugin's words, or what went wrong with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The rule that the plugin cited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// `trapped`, `timed-out`, `out-of-memory`, `too-big`, `error`; absent where it answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<String>,
    /// The tool call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call: Option<String>,
    /// Its tool.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<String>,
    /// Lower-case hex SHA-256 of the input.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input_sha256: Option<String>,
    /// Of the stage `approval`: who answered, and after how long.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approval: Option<Approved>,
    /// Time in the plugin.
    pub micros: u64,
}

/// Who answered a question, and after how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approved {
    /// `operator`, or `gatehouse` where nobody did in time.
    pub by: String,
    /// From the question to the answer.
    pub waited_ms: u64,
}

/// The writer of a task's decisions; bounded in number, flushed in the background. What is dropped
/// is counted, and the log's last line says so: `{"at": …, "dropped": n}`.
#[derive(Clone, Debug)]
pub struct DecisionLog {
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
}

#[derive(Debug)]
struct Shared {
    max: u32,
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

impl DecisionLog {
    /// Keeps at most `max` decisions; one last line says how many were dropped. To be called on the
    /// runtime: the writer is a task of its own and ends with the last clone.
    pub fn open(bucket: Arc<dyn Bucket>, id: &TaskId, max: u32) -> Self {
        let shared = Arc::new(Shared {
            max,
            kept: AtomicU32::new(0),
            dropped: AtomicU32::new(0),
            waiting: AtomicUsize::new(0),
        });
        let (orders, received) = mpsc::unbounded_channel();
        let writer = Writer {
            bucket,
            name: names::decisions(id),
            shared: shared.clone(),
        };
        tokio::spawn(writer.run(received));
        Self { shared, orders }
    }

    /// Adds decisions; never waits for the bucket.
    pub fn add(&self, decisions: &[Decision]) {
        let mut lines = Vec::new();
        for decision in decisions {
            if !self.shared.take_place() {
                continue;
            }
            match serde_json::to_vec(decision) {
                Ok(line) => {
                    lines.extend(line);
                    lines.push(b'\n');
                }
                Err(error) => tracing::error!(%error, "a decision cannot be written"),
            }
        }
        if lines.is_empty() {
            return;
        }
        self.shared
            .waiting
            .fetch_add(lines.len(), Ordering::Relaxed);
        if self.orders.send(Order::Lines(lines)).is_err() {
            tracing::error!("the writer of decisions is gone");
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
    fn take_place(&self) -> bool {
        let room = self.waiting.load(Ordering::Relaxed) < WAITING;
        let next = |kept: u32| (room && kept < self.max).then_some(kept + 1);
        let taken = self
            .kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok();
        if !taken {
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
            tracing::warn!(name = self.name, %error, "decisions were lost");
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plugin::memory_bucket::MemoryBucket;

    fn decision(plugin: &str) -> Decision {
        Decision {
            at: Timestamp::UNIX_EPOCH,
            stage: "tool".into(),
            plugin: plugin.into(),
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
        let log = DecisionLog::open(bucket.clone(), &"t".parse().unwrap(), 10);
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
        let log = DecisionLog::open(bucket.clone(), &"t".parse().unwrap(), 2);
        for _ in 0..5 {
            log.add(&[decision("a")]);
        }
        log.close().await.unwrap();
        let lines = lines(&bucket);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines.last().unwrap().get("dropped").unwrap(), 3);
    }

    #[tokio::test]
    async fn decisions_are_written_without_anybody_closing_the_log() {
        let bucket = Arc::new(MemoryBucket::default());
        let log = DecisionLog::open(bucket.clone(), &"t".parse().unwrap(), 10);
        log.add(&[decision("a")]);
        bucket.appended().await;
        assert_eq!(lines(&bucket).len(), 1);
    }

    #[tokio::test]
    async fn a_bucket_that_fails_is_reported_when_the_log_is_closed() {
        let bucket = Arc::new(MemoryBucket::failing());
        let log = DecisionLog::open(bucket, &"t".parse().unwrap(), 10);
        log.add(&[decision("a")]);
        assert!(log.close().await.is_err());
    }
}
