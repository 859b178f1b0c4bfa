use std::time::Duration;

use futures::FutureExt;
use serde_json::json;

use super::faults::{Fault, Faulty};
use super::*;
use crate::bucket::{BucketError, Durability, When};
use crate::redact::Redactor;

/// A test that waits longer than this has failed.
const LONG: Duration = Duration::from_secs(60);

fn limits() -> LogLimits {
    LogLimits {
        flush_interval: Duration::from_millis(50),
        flush_size: 256 * 1024,
        max_size: 1 << 30,
    }
}

async fn open_with(bucket: &Arc<dyn Bucket>, task: &str, limits: LogLimits) -> EventLog {
    EventLog::open(Arc::clone(bucket), id(task), limits, Default::default())
        .await
        .unwrap()
}

async fn task(bucket: &Arc<dyn Bucket>, task: &str) -> Tasks {
    let tasks = Tasks::new(Arc::clone(bucket));
    tasks.create(&record(task), payload()).await.unwrap();
    tasks
}

/// Everything until the end, as text.
async fn all(tasks: &Tasks, task: &str, after: u64) -> Vec<String> {
    let mut follower = tasks.follow(&id(task), after);
    let mut lines = Vec::new();
    let mut expected = after;
    loop {
        match tokio::time::timeout(LONG, follower.next())
            .await
            .expect("the follower ends")
            .unwrap()
        {
            Step::Event(event) => {
                expected += 1;
                assert_eq!(event.sequence, expected);
                lines.push(String::from_utf8(event.line.to_vec()).unwrap());
            }
            Step::End(record) => {
                assert!(record.status.is_terminal());
                return lines;
            }
        }
    }
}

async fn chunks_of(bucket: &Arc<dyn Bucket>, task: &str) -> Vec<String> {
    let entries = bucket
        .list(&names::session(&id(task)), None, 1000)
        .await
        .unwrap();
    entries
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| names::first_of(name).is_some())
        .collect()
}

async fn text(bucket: &Arc<dyn Bucket>, name: &str) -> String {
    String::from_utf8(bucket.get(name).await.unwrap().unwrap().data.to_vec()).unwrap()
}

#[tokio::test]
async fn what_is_appended_is_followed_in_order_from_any_place() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let log = open_with(
        &bucket,
        "a",
        LogLimits {
            flush_size: 100,
            ..limits()
        },
    )
    .await;
    let lines: Vec<String> = (1..=200)
        .map(|number| json!({ "n": number }).to_string())
        .collect();
    for line in &lines {
        log.append(line.as_bytes()).await;
    }
    assert_eq!(log.close().await.unwrap(), 200);
    tasks.finish(&id("a"), completed(Some(200))).await.unwrap();
    assert!(chunks_of(&bucket, "a").await.len() > 10);
    for after in [0, 1, 2, 57, 199, 200, 5000] {
        let expected = lines
            .get(usize::try_from(after).unwrap()..)
            .unwrap_or_default();
        assert_eq!(all(&tasks, "a", after).await, expected, "after {after}");
    }
}

#[tokio::test]
async fn a_line_that_comes_after_a_quiet_time_is_written_at_once_and_those_close_behind_together() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let log = open_with(
        &bucket,
        "a",
        LogLimits {
            flush_interval: LONG * 60,
            ..limits()
        },
    )
    .await;
    log.append(b"1").await;
    let mut follower = tasks.follow(&id("a"), 0);
    let first = tokio::time::timeout(LONG, follower.next())
        .await
        .expect("written without waiting")
        .unwrap();
    assert!(matches!(first, Step::Event(Event { sequence: 1, .. })));
    log.append(b"2").await;
    log.append(b"3").await;
    assert!(follower.ready().await.unwrap().is_none());
    assert_eq!(log.close().await.unwrap(), 3);
    let chunks = chunks_of(&bucket, "a").await;
    assert_eq!(
        chunks,
        [names::chunk(&id("a"), 1), names::chunk(&id("a"), 2)]
    );
    assert_eq!(text(&bucket, &chunks[1]).await, "2\n3\n");
}

#[tokio::test]
async fn the_interval_and_the_size_end_the_gathering() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let log = open_with(
        &bucket,
        "a",
        LogLimits {
            flush_size: 10,
            ..limits()
        },
    )
    .await;
    let mut follower = tasks.follow(&id("a"), 0);
    for line in [b"11111".as_slice(), b"22222", b"33333", b"44444"] {
        log.append(line).await;
    }
    for sequence in 1..=4 {
        let step = tokio::time::timeout(LONG, follower.next())
            .await
            .expect("written without a close")
            .unwrap();
        assert!(matches!(step, Step::Event(event) if event.sequence == sequence));
    }
    log.close().await.unwrap();
}

#[tokio::test]
async fn lines_are_redacted_and_made_fit_for_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let redactor = Arc::new(Redactor::new([&"hunter22".into()]));
    let log = EventLog::open(Arc::clone(&bucket), id("a"), limits(), redactor)
        .await
        .unwrap();
    for line in [
        b"{\"b\": 1.0,\"a\":\"hunter22\"}".as_slice(),
        b"",
        b"   \r",
        b"plain hunter22\r",
        b"\xff",
        b"{\"a\":\r1}\r",
    ] {
        log.append(line).await;
    }
    log.say(json!({ "event": "note", "type": "x", "text": "hunter22" }))
        .await;
    let last = log.close().await.unwrap();
    tasks.finish(&id("a"), completed(Some(last))).await.unwrap();
    assert_eq!(
        all(&tasks, "a", 0).await,
        [
            r#"{"b": 1.0,"a":"[REDACTED]"}"#,
            r#"{"type":"text","content":"plain [REDACTED]"}"#,
            "{\"type\":\"text\",\"content\":\"\u{fffd}\"}",
            r#"{"a": 1}"#,
            r#"{"type":"gatehouse","event":"note","text":"[REDACTED]"}"#,
        ]
    );
}

#[tokio::test]
async fn beyond_the_limit_lines_are_counted_and_the_log_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let log = open_with(
        &bucket,
        "a",
        LogLimits {
            max_size: 10,
            ..limits()
        },
    )
    .await;
    for line in ["1234", "5678", "9", ""] {
        log.append(line.as_bytes()).await;
    }
    log.append(b"10").await;
    assert_eq!(log.close().await.unwrap(), 3);
    tasks.finish(&id("a"), completed(Some(3))).await.unwrap();
    let truncated =
        r#"{"type":"gatehouse","event":"log_truncated","droppedLines":2,"droppedBytes":5}"#;
    assert_eq!(all(&tasks, "a", 0).await, ["1234", "5678", truncated]);
}

#[tokio::test]
async fn a_log_that_is_opened_again_goes_on_after_its_last_line() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let first = open_with(&bucket, "a", limits()).await;
    first.append(b"1").await;
    first.append(b"2").await;
    first.close().await.unwrap();
    let second = open_with(
        &bucket,
        "a",
        LogLimits {
            max_size: 6,
            ..limits()
        },
    )
    .await;
    second.append(b"3").await;
    second.append(b"4").await;
    assert_eq!(
        second.close().await.unwrap(),
        4,
        "the size of the log counts from its beginning"
    );
    tasks.finish(&id("a"), completed(None)).await.unwrap();
    let lines = all(&tasks, "a", 0).await;
    assert_eq!(lines[..3], ["1", "2", "3"]);
    assert!(lines[3].contains("log_truncated"));
}

#[tokio::test]
async fn a_closed_log_takes_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let log = open_with(&bucket, "a", limits()).await;
    log.append(b"1").await;
    assert_eq!(log.clone().close().await.unwrap(), 1);
    log.append(b"2").await;
    assert_eq!(log.close().await.unwrap(), 1);
    assert_eq!(chunks_of(&bucket, "a").await.len(), 1);
}

#[tokio::test]
async fn a_log_that_nobody_closed_is_written_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let log = open_with(
        &bucket,
        "a",
        LogLimits {
            flush_interval: LONG * 60,
            ..limits()
        },
    )
    .await;
    log.append(b"1").await;
    log.append(b"2").await;
    drop(log);
    let mut follower = tasks.follow(&id("a"), 1);
    let step = tokio::time::timeout(LONG, follower.next())
        .await
        .expect("written")
        .unwrap();
    assert!(matches!(step, Step::Event(Event { sequence: 2, .. })));
}

#[tokio::test]
async fn chunks_that_the_storage_refuses_are_neither_lost_nor_doubled_nor_reordered() {
    let directory = tempfile::tempdir().unwrap();
    let inner = bucket(&directory);
    let tasks = task(&inner, "a").await;
    let refused = (2..6).map(|at| (at, Fault::Refused));
    let faults = refused.chain([
        (6, Fault::AnswerLost),
        (9, Fault::AnswerLost),
        (10, Fault::Refused),
    ]);
    let faulty: Arc<dyn Bucket> = Faulty::new(Arc::clone(&inner), faults.collect());
    let log = open_with(
        &faulty,
        "a",
        LogLimits {
            flush_size: 1,
            ..limits()
        },
    )
    .await;
    let lines: Vec<String> = (1..=10).map(|number| number.to_string()).collect();
    for line in &lines {
        log.append(line.as_bytes()).await;
    }
    let last = log.close().await.unwrap();
    tasks.finish(&id("a"), completed(Some(last))).await.unwrap();
    assert_eq!(all(&tasks, "a", 0).await, lines);
}

#[tokio::test]
async fn a_second_writer_is_noticed_and_overwrites_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let (one, two) = (
        open_with(&bucket, "a", limits()).await,
        open_with(&bucket, "a", limits()).await,
    );
    one.append(b"1").await;
    one.close().await.unwrap();
    two.append(b"2").await;
    assert!(matches!(
        two.close().await,
        Err(TaskError::Bucket(BucketError::Conflict(_)))
    ));
    assert_eq!(text(&bucket, &names::chunk(&id("a"), 1)).await, "1\n");
}

#[tokio::test]
async fn a_storage_that_is_gone_holds_up_whoever_appends_and_ends_the_close() {
    let directory = tempfile::tempdir().unwrap();
    let always = (1..10_000).map(|at| (at, Fault::Refused)).collect();
    let faulty: Arc<dyn Bucket> = Faulty::new(bucket(&directory), always);
    let log = open_with(
        &faulty,
        "a",
        LogLimits {
            flush_size: 1000,
            ..limits()
        },
    )
    .await;
    let mut taken = 0;
    while log.append(&[b'1'; 500]).now_or_never().is_some() {
        taken += 1;
        tokio::task::yield_now().await;
    }
    assert!(
        (2..10).contains(&taken),
        "four chunks of 1000 bytes: {taken}"
    );
    assert!(matches!(
        log.close().await,
        Err(TaskError::Bucket(BucketError::Io { .. }))
    ));
}

#[tokio::test]
async fn a_line_larger_than_all_the_room_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let log = open_with(
        &bucket,
        "a",
        LogLimits {
            flush_size: 10,
            ..limits()
        },
    )
    .await;
    let large = "1".repeat(1_000_000);
    for _ in 0..3 {
        log.append(large.as_bytes()).await;
    }
    assert_eq!(log.close().await.unwrap(), 3);
    assert_eq!(
        text(&bucket, &names::chunk(&id("a"), 3)).await,
        large + "\n"
    );
}

async fn follows_to_the_end(bucket: Arc<dyn Bucket>) {
    let tasks = task(&bucket, "a").await;
    let following = {
        let tasks = tasks.clone();
        tokio::spawn(async move { all(&tasks, "a", 0).await })
    };
    let log = open_with(
        &bucket,
        "a",
        LogLimits {
            flush_interval: Duration::from_millis(1),
            ..limits()
        },
    )
    .await;
    for number in 0..300 {
        log.append(number.to_string().as_bytes()).await;
        tokio::task::yield_now().await;
    }
    let last = log.close().await.unwrap();
    tasks.finish(&id("a"), completed(Some(last))).await.unwrap();
    let lines = tokio::time::timeout(LONG, following)
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(lines.len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_a_growing_log_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    follows_to_the_end(bucket(&directory)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_told_nothing_polls() {
    let directory = tempfile::tempdir().unwrap();
    follows_to_the_end(Faulty::blind(bucket(&directory))).await;
}

#[tokio::test]
async fn a_follower_that_is_dropped_while_it_waits_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let log = open_with(&bucket, "a", limits()).await;
    let mut follower = tasks.follow(&id("a"), 0);
    let mut seen = 0;
    for number in 1..=50_u64 {
        log.append(number.to_string().as_bytes()).await;
        // Dropped after a time that differs, wherever it is then.
        let patience = Duration::from_micros(number * 40);
        if let Ok(step) = tokio::time::timeout(patience, follower.next()).await {
            seen += 1;
            assert!(matches!(step.unwrap(), Step::Event(event) if event.sequence == seen));
        }
    }
    let last = log.close().await.unwrap();
    tasks.finish(&id("a"), completed(Some(last))).await.unwrap();
    while let Step::Event(event) = tokio::time::timeout(LONG, follower.next())
        .await
        .expect("it ends")
        .unwrap()
    {
        seen += 1;
        assert_eq!(event.sequence, seen);
    }
    assert_eq!(seen, 50);
}

#[tokio::test]
async fn ready_gives_what_is_there_and_does_not_wait() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let mut follower = tasks.follow(&id("a"), 0);
    assert!(follower.ready().await.unwrap().is_none());
    let log = open_with(&bucket, "a", limits()).await;
    log.append(b"1").await;
    log.close().await.unwrap();
    assert!(matches!(
        follower.ready().await.unwrap(),
        Some(Step::Event(_))
    ));
    assert!(follower.ready().await.unwrap().is_none());
    tasks.finish(&id("a"), completed(None)).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(
            follower.ready().await.unwrap(),
            Some(Step::End(_))
        ));
    }
}

#[tokio::test]
async fn nobody_follows_a_task_that_does_not_exist() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let unknown = tasks.follow(&id("a"), 0).next().await;
    assert!(matches!(unknown, Err(TaskError::Unknown(task)) if task == id("a")));
    assert!(
        !directory.path().join("sessions").exists(),
        "and nothing is made of asking"
    );
}

#[tokio::test]
async fn a_follower_ends_even_where_lines_are_missing_or_their_number_is_not_known() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    for (name, last_sequence) in [("more", Some(9)), ("none", None)] {
        let tasks = task(&bucket, name).await;
        let log = open_with(&bucket, name, limits()).await;
        log.append(b"1").await;
        log.close().await.unwrap();
        // As a loss of power leaves it.
        let empty = names::chunk(&id(name), 2);
        bucket
            .put(&empty, Bytes::new(), When::Absent, Durability::Buffered)
            .await
            .unwrap();
        let ended = |record: &mut Record| {
            record.status = Status::Failed;
            record.last_sequence = last_sequence;
            true
        };
        assert!(tasks.update(&id(name), ended).await.unwrap().changed);
        assert_eq!(all(&tasks, name, 0).await, ["1"]);
    }
}

#[tokio::test]
async fn lines_after_the_end_that_the_record_vouches_for_are_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let tasks = task(&bucket, "a").await;
    let log = open_with(&bucket, "a", limits()).await;
    for line in ["1", "2", "3"] {
        log.append(line.as_bytes()).await;
    }
    log.close().await.unwrap();
    tasks
        .finish(
            &id("a"),
            Ending {
                last_sequence: Some(2),
                ..completed(None)
            },
        )
        .await
        .unwrap();
    assert_eq!(all(&tasks, "a", 0).await, ["1", "2"]);
}
