#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::bucket::directory::DirectoryBucket;
use crate::redact::Redactor;
use crate::task::{Ending, EventLog, LogLimits, Reason, TaskId, Tasks};

const LONG: Duration = Duration::from_secs(3600);

struct Task {
    directory: TempDir,
    tasks: Tasks,
    record: Record,
    log: EventLog,
    stopping: CancellationToken,
}

impl Task {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tasks = Tasks::new(Arc::new(
            DirectoryBucket::open(directory.path().to_owned()).unwrap(),
        ));
        let record: Record = serde_json::from_value(json!({
            "taskId": "t1", "status": "pending", "phase": "queued", "executionMode": "sync",
            "caller": "anonymous", "createdAt": "2026-01-02T03:04:05.678Z", "logsPath": "file:///x/",
            "encryptedPayloadPath": "x", "effective": {}, "pluginSet": "r",
        }))
        .unwrap();
        tasks.create(&record, "sealed".into()).await.unwrap();
        let limits = LogLimits {
            flush_interval: Duration::ZERO,
            flush_size: 1 << 20,
            max_size: 1 << 20,
        };
        let (bucket, redactor) = (Arc::clone(tasks.bucket()), Arc::new(Redactor::default()));
        let log = EventLog::open(bucket, record.task_id.clone(), limits, redactor)
            .await
            .unwrap();
        Self {
            directory,
            tasks,
            record,
            log,
            stopping: CancellationToken::new(),
        }
    }

    fn id(&self) -> &TaskId {
        &self.record.task_id
    }

    fn events(&self, after: u64, heartbeat: Duration) -> Events {
        Events {
            log: self.tasks.follow(self.id(), after),
            first: Some(sse::event("task", &introduction(&self.record))),
            ended: false,
            heartbeat,
            stopping: self.stopping.clone(),
            presence: None,
            _place: None,
        }
    }

    async fn end(&self, mut ending: Ending) {
        ending.last_sequence = Some(self.log.close().await.unwrap());
        self.tasks.finish(self.id(), ending).await.unwrap();
    }
}

async fn next(events: &mut Events) -> String {
    String::from_utf8(events.next().await.unwrap().to_vec()).unwrap()
}

async fn rest(events: &mut Events) -> String {
    let mut text = String::new();
    while let Some(frame) = events.next().await {
        text.push_str(std::str::from_utf8(&frame).unwrap());
    }
    text
}

#[tokio::test]
async fn a_stream_begins_with_the_task_then_has_every_line_unchanged_and_ends_with_the_report() {
    let task = Task::new().await;
    let mut events = task.events(0, LONG);
    assert_eq!(
        next(&mut events).await,
        "event: task\ndata: {\"taskId\":\"t1\",\"status\":\"pending\",\
         \"createdAt\":\"2026-01-02T03:04:05.678Z\",\"logsPath\":\"file:///x/\"}\n\n"
    );
    let line = r#"{ "type":"system",  "n":1.0 }"#;
    task.log.append(line.as_bytes()).await;
    assert_eq!(next(&mut events).await, format!("id: 1\ndata: {line}\n\n"));
    task.log.append(b"no json").await;
    task.end(Ending {
        status: Status::Completed,
        reason: None,
        error: None,
        exit_code: 0,
        ..Ending::cancelled()
    })
    .await;
    let rest = rest(&mut events).await;
    let (second, done) = rest.split_once("\n\n").unwrap();
    assert_eq!(
        second,
        "id: 2\ndata: {\"type\":\"text\",\"content\":\"no json\"}"
    );
    let done = done.strip_prefix("event: done\ndata: ").unwrap();
    let report: Value = serde_json::from_str(done).unwrap();
    assert_eq!(
        (&report["taskId"], &report["status"]),
        (&json!("t1"), &json!("completed"))
    );
}

#[tokio::test]
async fn a_failed_or_cancelled_task_says_so_before_it_is_done() {
    let task = Task::new().await;
    task.end(Ending::failed(Reason::Lost, "It is gone")).await;
    let text = rest(&mut task.events(0, LONG)).await;
    assert!(
        text.contains("event: error\ndata: {\"error\":\"It is gone\"}\n\nevent: done\n"),
        "{text}"
    );

    let task = Task::new().await;
    task.end(Ending::cancelled()).await;
    let text = rest(&mut task.events(0, LONG)).await;
    let cancelled =
        "event: cancelled\ndata: {\"message\":\"Task cancelled by user\"}\n\nevent: done\n";
    assert!(text.contains(cancelled), "{text}");
}

#[tokio::test]
async fn whoever_comes_back_gets_what_it_has_not() {
    let task = Task::new().await;
    for n in 1..=5 {
        task.log.append(format!("{{\"n\":{n}}}").as_bytes()).await;
    }
    task.end(Ending::cancelled()).await;
    let text = rest(&mut task.events(3, LONG)).await;
    assert!(
        !text.contains("id: 3\n") && text.contains("id: 4\n") && text.contains("id: 5\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_quiet_stream_has_comments_and_one_of_a_stopping_gateway_ends_with_one() {
    let task = Task::new().await;
    let mut events = task.events(0, Duration::from_millis(10));
    next(&mut events).await;
    assert_eq!(next(&mut events).await, ": \n\n");
    let mut events = task.events(0, LONG);
    next(&mut events).await;
    task.stopping.cancel();
    let last = rest(&mut events).await;
    assert!(last.starts_with(": ") && !last.contains("event:"), "{last}");
}

#[tokio::test]
async fn a_storage_that_fails_for_long_ends_a_stream_with_what_to_do() {
    let task = Task::new().await;
    let mut events = task.events(0, LONG);
    task.log.append(br#"{"n":1}"#).await;
    while !next(&mut events).await.contains("id: 1") {}

    // A link to itself: nothing below it can be looked at.
    let kept = task.directory.path().join("sessions");
    std::fs::rename(&kept, kept.with_file_name("away")).unwrap();
    std::os::unix::fs::symlink(&kept, &kept).unwrap();

    let told = tokio::time::timeout(LONG, rest(&mut events)).await.unwrap();
    let comment = ": the log cannot be read now: come back with Last-Event-ID\n\n";
    assert_eq!(told, comment, "and not that the task has failed");
}
