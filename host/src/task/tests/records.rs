use std::time::Duration;

use futures::future::join_all;
use jiff::ToSpan;

use super::*;
use crate::bucket::{BucketError, Durability, When};

async fn tasks_with(directory: &tempfile::TempDir, ids: &[&str]) -> Tasks {
    let tasks = Tasks::new(bucket(directory));
    for id in ids {
        tasks.create(&record(id), payload()).await.unwrap();
    }
    tasks
}

async fn names_below(tasks: &Tasks, prefix: &str) -> Vec<String> {
    tasks
        .bucket()
        .list(prefix, None, 1000)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

#[tokio::test]
async fn a_created_task_is_read_back_with_its_payload() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let mut record = record("a");
    record.metadata = serde_json::json!({ "b": 1, "a": [null] })
        .as_object()
        .cloned();
    tasks.create(&record, payload()).await.unwrap();
    assert_eq!(tasks.get(&record.task_id).await.unwrap().unwrap(), record);
    assert_eq!(
        tasks.payload(&record.task_id).await.unwrap().unwrap(),
        payload()
    );
    assert!(tasks.get(&id("b")).await.unwrap().is_none());
    assert!(tasks.payload(&id("b")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_taken_id_leaves_the_first_task_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    let first = tasks.get(&id("a")).await.unwrap().unwrap();
    let second = tasks
        .create(&record("a"), Bytes::from_static(b"other"))
        .await;
    assert!(matches!(second, Err(TaskError::Taken(taken)) if taken == id("a")));
    assert_eq!(tasks.get(&id("a")).await.unwrap().unwrap(), first);
    assert_eq!(tasks.payload(&id("a")).await.unwrap().unwrap(), payload());
    assert_eq!(names_below(&tasks, "index/").await.len(), 1);
}

#[tokio::test]
async fn the_id_of_a_task_that_is_over_stays_taken_and_no_payload_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    tasks.finish(&id("a"), completed(None)).await.unwrap();
    assert!(matches!(
        tasks.create(&record("a"), payload()).await,
        Err(TaskError::Taken(_))
    ));
    assert!(names_below(&tasks, "tasks/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creators_of_one_id_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = [
        Tasks::new(bucket(&directory)),
        Tasks::new(bucket(&directory)),
    ];
    let created = join_all((0..20).map(|number| {
        let (tasks, mut record) = (tasks[number % 2].clone(), record("a"));
        record.caller = number.to_string();
        tokio::spawn(async move {
            (
                tasks.create(&record, Bytes::from(number.to_string())).await,
                number,
            )
        })
    }))
    .await;
    let created: Vec<_> = created.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = created
        .iter()
        .filter(|(result, _)| result.is_ok())
        .collect();
    assert_eq!(winners.len(), 1);
    let losers = created
        .iter()
        .filter(|(result, _)| matches!(result, Err(TaskError::Taken(_))));
    assert_eq!(losers.count(), 19);
    let winner = winners[0].1.to_string();
    assert_eq!(
        tasks[0].get(&id("a")).await.unwrap().unwrap().caller,
        winner
    );
    assert_eq!(tasks[0].payload(&id("a")).await.unwrap().unwrap(), winner);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_updates_lose_none() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    let updates = (0..30).map(|_| {
        let tasks = tasks.clone();
        tokio::spawn(async move {
            let increment = |record: &mut Record| {
                record.attempt += 1;
                true
            };
            tasks.update(&id("a"), increment).await.unwrap()
        })
    });
    join_all(updates).await;
    assert_eq!(tasks.get(&id("a")).await.unwrap().unwrap().attempt, 30);
}

#[tokio::test]
async fn an_update_that_wants_no_change_writes_none() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    let generation = tasks
        .bucket()
        .get(&names::record(&id("a")))
        .await
        .unwrap()
        .unwrap()
        .generation;
    let change_of_mind = |record: &mut Record| {
        record.attempt = 7;
        false
    };
    let updated = tasks.update(&id("a"), change_of_mind).await.unwrap();
    assert!(!updated.changed);
    assert_eq!(updated.record.attempt, 0);
    let after = tasks
        .bucket()
        .get(&names::record(&id("a")))
        .await
        .unwrap()
        .unwrap()
        .generation;
    assert_eq!(after, generation);
    assert!(matches!(
        tasks.update(&id("b"), |_| true).await,
        Err(TaskError::Unknown(_))
    ));
}

#[tokio::test]
async fn an_ending_for_those_that_wait_leaves_one_that_somebody_started() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["waits", "started"]).await;
    let start = |record: &mut Record| {
        record.phase = Phase::Starting;
        true
    };
    tasks.update(&id("started"), start).await.unwrap();
    let end = async |name: &str| {
        let waits = |record: &Record| record.phase == Phase::Queued;
        let ended = tasks.finish_if(&id(name), Ending::cancelled(), waits).await;
        ended.unwrap()
    };
    assert!(matches!(end("waits").await, Finished::ByUs(_)));
    let Finished::Before(record) = end("started").await else {
        panic!("a task that was started is nobody else's to end");
    };
    assert!(!record.status.is_terminal());
    assert!(tasks.payload(&id("started")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_endings_one_is_kept_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    let endings = (0..10).map(|number| {
        let tasks = tasks.clone();
        let ending = match number % 3 {
            0 => Ending::cancelled(),
            1 => completed(None),
            _ => Ending::failed(Reason::Lost, number.to_string()),
        };
        tokio::spawn(async move { tasks.finish(&id("a"), ending).await.unwrap() })
    });
    let finished: Vec<_> = join_all(endings)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let winners: Vec<_> = finished
        .iter()
        .filter(|end| matches!(end, Finished::ByUs(_)))
        .collect();
    assert_eq!(winners.len(), 1);
    let stored = tasks.get(&id("a")).await.unwrap().unwrap();
    for end in &finished {
        let (Finished::ByUs(seen) | Finished::Before(seen)) = end;
        assert_eq!(**seen, stored);
    }
    assert_eq!(stored.phase, Phase::Ended);
    assert!(!tasks.update(&id("a"), |_| true).await.unwrap().changed);
    assert!(
        !tasks
            .request_cancel(&id("a"), "caller")
            .await
            .unwrap()
            .changed
    );
}

#[tokio::test]
async fn an_ending_sets_what_belongs_to_it_and_removes_what_is_transient() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    let _lease = Lease::take(
        Arc::clone(tasks.bucket()),
        &id("a"),
        Duration::from_secs(20),
    )
    .await
    .unwrap()
    .unwrap();
    let first = tasks.request_cancel(&id("a"), "caller").await.unwrap();
    assert!(first.changed && first.record.cancelled_at.is_none());
    assert!(
        !tasks
            .request_cancel(&id("a"), "disconnect")
            .await
            .unwrap()
            .changed
    );

    let Finished::ByUs(record) = tasks.finish(&id("a"), Ending::cancelled()).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (record.status, record.exit_code),
        (Status::Cancelled, Some(130))
    );
    assert_eq!(record.cancel.as_ref().unwrap().by, "caller");
    assert_eq!(
        record.cancelled_at,
        Some(record.cancel.as_ref().unwrap().at)
    );
    assert!(record.completed_at.unwrap() >= record.created_at);
    assert_eq!(record.last_sequence, Some(0));
    assert!(names_below(&tasks, "tasks/").await.is_empty());
    assert!(tasks.payload(&id("a")).await.unwrap().is_none());
    assert!(
        names_below(&tasks, "outbox/").await.is_empty(),
        "nobody asked for a report"
    );
}

#[tokio::test]
async fn an_ending_that_does_not_know_the_last_event_counts_them() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    for (first, lines) in [(1, "1\n2\n"), (3, "3\n")] {
        let name = names::chunk(&id("a"), first);
        tasks
            .bucket()
            .put(
                &name,
                Bytes::from(lines),
                When::Absent,
                Durability::Buffered,
            )
            .await
            .unwrap();
    }
    let Finished::ByUs(record) = tasks
        .finish(&id("a"), Ending::failed(Reason::Lost, "x"))
        .await
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(record.last_sequence, Some(3));
}

#[tokio::test]
async fn unfinished_tasks_are_found_oldest_first_and_settled_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["c", "a", "b"]).await;
    tasks.finish(&id("a"), completed(None)).await.unwrap();
    // A crash after the record became terminal, before it was settled.
    let fail = |record: &mut Record| {
        record.status = Status::Failed;
        true
    };
    tasks.update(&id("b"), fail).await.unwrap();
    let found = tasks.unfinished().await.unwrap().records;
    assert_eq!(
        found
            .iter()
            .map(|record| record.task_id.as_str())
            .collect::<Vec<_>>(),
        ["c", "b"]
    );
    tasks.settle(&found[1]).await.unwrap();
    tasks.settle(&found[0]).await.unwrap();
    assert_eq!(
        tasks.unfinished().await.unwrap().records,
        found[..1],
        "what is not over is not settled"
    );
}

#[tokio::test]
async fn a_task_whose_creator_died_before_the_index_is_listed_once_it_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    let entry = names_below(&tasks, "index/").await.remove(0);
    tasks.bucket().delete(&entry, When::Always).await.unwrap();
    tasks.finish(&id("a"), completed(None)).await.unwrap();
    assert_eq!(names_below(&tasks, "index/").await, [entry]);
}

#[tokio::test]
async fn a_payload_that_was_never_accepted_goes_after_a_minute() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &[]).await;
    for task in ["old", "new"] {
        tasks
            .bucket()
            .put(
                &names::payload(&id(task)),
                payload(),
                When::Absent,
                Durability::Buffered,
            )
            .await
            .unwrap();
    }
    let old = std::fs::File::options()
        .write(true)
        .open(directory.path().join("tasks/old/payload.enc"))
        .unwrap();
    old.set_modified(std::time::SystemTime::now() - Duration::from_secs(61))
        .unwrap();
    assert!(tasks.unfinished().await.unwrap().records.is_empty());
    assert_eq!(
        names_below(&tasks, "tasks/").await,
        [names::payload(&id("new"))]
    );
}

#[tokio::test]
async fn a_damaged_record_is_an_error_of_its_own_and_spoils_no_list() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a", "b"]).await;
    let broken = Bytes::from_static(b"{\"taskId\":");
    tasks
        .bucket()
        .put(
            &names::record(&id("a")),
            broken,
            When::Always,
            Durability::Buffered,
        )
        .await
        .unwrap();
    assert!(matches!(
        tasks.get(&id("a")).await,
        Err(TaskError::Damaged { .. })
    ));
    let unfinished = tasks.unfinished().await.unwrap();
    assert_eq!(unfinished.records.len(), 1);
    assert_eq!(unfinished.damaged, [id("a")]);
    let page = tasks
        .list(&ListQuery {
            limit: 10,
            ..ListQuery::default()
        })
        .await
        .unwrap();
    assert_eq!(page.tasks.len(), 1);
}

#[tokio::test]
async fn a_storage_that_fails_is_told_apart_from_a_taken_id() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    std::fs::remove_dir_all(directory.path().join(".temp")).unwrap();
    let failed = tasks.create(&record("b"), payload()).await;
    assert!(
        matches!(failed, Err(TaskError::Bucket(BucketError::Io { .. }))),
        "{failed:?}"
    );
}

async fn listed(tasks: &Tasks, query: ListQuery) -> (Vec<String>, Option<String>) {
    let page = tasks.list(&query).await.unwrap();
    (
        page.tasks
            .into_iter()
            .map(|record| record.task_id.to_string())
            .collect(),
        page.next,
    )
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_across_days() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let now = Timestamp::now();
    // Seconds before now; some days hold none.
    let ages = [0, 1, 2, 86_400, 86_401, 10 * 86_400, 30 * 86_400];
    let mut expected = Vec::new();
    for (number, age) in ages.into_iter().enumerate() {
        let mut record = record(&format!("{number}-x"));
        record.created_at = now - age.seconds();
        tasks.create(&record, payload()).await.unwrap();
        expected.push(record.task_id.to_string());
    }
    for limit in [1, 2, 3, 100] {
        let (mut all, mut cursor) = (Vec::new(), None);
        for _ in 0..20 {
            let (page, next) = listed(
                &tasks,
                ListQuery {
                    limit,
                    cursor,
                    ..ListQuery::default()
                },
            )
            .await;
            assert!(page.len() <= limit);
            all.extend(page);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(all, expected, "{limit}");
        assert!(cursor.is_none());
    }
}

#[tokio::test]
async fn a_status_filters_and_a_task_that_ended_since_does_not_shift_the_pages() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a", "b", "c", "d"]).await;
    for task in ["a", "c"] {
        tasks.finish(&id(task), completed(None)).await.unwrap();
    }
    let pending = |cursor| ListQuery {
        filter: Filter {
            status: Some(Status::Pending),
            ..Filter::default()
        },
        limit: 1,
        cursor,
    };
    let (first, next) = listed(&tasks, pending(None)).await;
    assert_eq!(first, ["d"]);
    tasks.finish(&id("d"), completed(None)).await.unwrap();
    let (second, next) = listed(&tasks, pending(next)).await;
    assert_eq!(second, ["b"]);
    let (third, next) = listed(&tasks, pending(next)).await;
    assert!(third.is_empty() && next.is_none());
}

#[tokio::test]
async fn a_cursor_that_is_none_names_an_empty_page() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &["a"]).await;
    for cursor in ["", "x", "2026-13-01", "2026-11-23.x", "../../etc"] {
        let query = ListQuery {
            limit: 10,
            cursor: Some(cursor.to_owned()),
            ..ListQuery::default()
        };
        assert_eq!(listed(&tasks, query).await, (Vec::new(), None), "{cursor}");
    }
}

#[tokio::test]
async fn a_page_of_an_empty_bucket_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = tasks_with(&directory, &[]).await;
    assert_eq!(
        listed(
            &tasks,
            ListQuery {
                limit: 10,
                ..ListQuery::default()
            }
        )
        .await,
        (Vec::new(), None)
    );
    assert!(tasks.unfinished().await.unwrap().records.is_empty());
}
