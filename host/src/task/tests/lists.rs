//! What `GET /tasks` can ask for.

use jiff::ToSpan;

use super::*;

/// Every page of a list, one after another.
async fn every(tasks: &Tasks, filter: Filter, limit: usize) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), None);
    for _ in 0..100 {
        let query = ListQuery {
            filter: filter.clone(),
            limit,
            cursor,
        };
        let page = tasks.list(&query).await.unwrap();
        assert!(page.tasks.len() <= limit);
        all.extend(page.tasks.iter().map(|record| record.task_id.to_string()));
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
    panic!("the list has no end: {all:?}");
}

async fn add(tasks: &Tasks, name: &str, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = record(name);
    change(&mut record);
    tasks
        .create(&record, Bytes::from_static(b"sealed"))
        .await
        .unwrap();
    record
}

fn label(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn every_filter_selects_and_all_of_them_must_hold() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    add(&tasks, "plain", |_| {}).await;
    add(&tasks, "labelled", |record| {
        record
            .labels
            .extend([label("team", "a"), label("run", "7")]);
    })
    .await;
    add(&tasks, "other-team", |record| {
        record
            .labels
            .extend([label("team", "b"), label("run", "7")]);
        record.execution_mode = Mode::Sync;
        record.caller = "key-1".to_owned();
    })
    .await;
    let ending = Ending::failed(Reason::Stalled, "");
    tasks.finish(&id("other-team"), ending).await.unwrap();

    let all = |filter| every(&tasks, filter, 1);
    let labels = |labels: &[(String, String)]| Filter {
        labels: labels.to_vec(),
        ..Filter::default()
    };
    assert_eq!(all(labels(&[label("team", "a")])).await, ["labelled"]);
    assert_eq!(
        all(labels(&[label("run", "7")])).await,
        ["other-team", "labelled"]
    );
    assert_eq!(
        all(labels(&[label("run", "7"), label("team", "b")])).await,
        ["other-team"]
    );
    assert!(all(labels(&[label("team", "")])).await.is_empty());
    let reason = Filter {
        reason: Some(Reason::Stalled),
        ..Filter::default()
    };
    assert_eq!(all(reason).await, ["other-team"]);
    let mode = Filter {
        mode: Some(Mode::Async),
        ..Filter::default()
    };
    assert_eq!(all(mode).await, ["labelled", "plain"]);
    let caller = Filter {
        caller: Some("key-1".to_owned()),
        ..Filter::default()
    };
    assert_eq!(all(caller.clone()).await, ["other-team"]);
    let both = Filter {
        mode: Some(Mode::Async),
        ..caller
    };
    assert!(all(both).await.is_empty());
}

#[tokio::test]
async fn a_span_of_time_holds_its_beginning_and_not_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let midnight: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    let times = [
        ("before", midnight - 1.millisecond()),
        ("midnight", midnight),
        ("after", midnight + 1.millisecond()),
        ("noon", midnight + 12.hours()),
        ("week", midnight + 168.hours()),
    ];
    for (name, at) in times {
        add(&tasks, name, |record| record.created_at = at).await;
    }
    let within = |since: Option<Timestamp>, until: Option<Timestamp>| {
        let filter = Filter {
            since,
            until,
            ..Filter::default()
        };
        every(&tasks, filter, 2)
    };
    for (at, expected) in [
        (midnight, &["before"][..]),
        (midnight + 1.nanosecond(), &["midnight", "before"]),
        (midnight + 1.millisecond(), &["midnight", "before"]),
        (
            midnight + 13.hours(),
            &["noon", "after", "midnight", "before"],
        ),
        (midnight - 48.hours(), &[]),
    ] {
        assert_eq!(within(None, Some(at)).await, expected, "{at}");
    }
    assert_eq!(
        within(Some(midnight), None).await,
        ["week", "noon", "after", "midnight"]
    );
    assert_eq!(
        within(Some(midnight), Some(midnight + 12.hours())).await,
        ["after", "midnight"]
    );
    assert!(
        within(Some(midnight + 169.hours()), None).await.is_empty(),
        "after everything"
    );
    assert!(within(Some(midnight), Some(midnight)).await.is_empty());
}

#[tokio::test]
async fn pages_neither_miss_nor_repeat_a_task_while_others_come_in() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let mut expected = Vec::new();
    for n in 0..9 {
        add(&tasks, &format!("old-{n}"), |record| {
            record.labels.extend([label("kept", "yes")]);
        })
        .await;
        expected.insert(0, format!("old-{n}"));
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    for n in 0..20 {
        let query = ListQuery {
            filter: Filter {
                labels: vec![label("kept", "yes")],
                ..Filter::default()
            },
            limit: 2,
            cursor,
        };
        let page = tasks.list(&query).await.unwrap();
        seen.extend(page.tasks.iter().map(|record| record.task_id.to_string()));
        add(&tasks, &format!("new-{n}"), |record| {
            record.labels.extend([label("kept", "yes")]);
        })
        .await;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_page_looks_at_a_thousand_records_at_most_and_names_where_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let now = Timestamp::now();
    for n in 0..1_001 {
        let mut record = record(&format!("t-{n}"));
        record.created_at = now - (n * 1_000).microseconds();
        if n == 1_000 {
            record.labels.extend([label("last", "one")]);
        }
        // What a list reads of a task, without the two writes to disk that each costs.
        let data = serde_json::to_vec(&record).unwrap();
        for (name, data) in [
            (names::record(&record.task_id), data),
            (names::index(record.created_at, &record.task_id), Vec::new()),
        ] {
            let when = crate::bucket::When::Absent;
            let durability = crate::bucket::Durability::Buffered;
            tasks
                .bucket()
                .put(&name, data.into(), when, durability)
                .await
                .unwrap();
        }
    }
    let mut query = ListQuery {
        filter: Filter {
            labels: vec![label("last", "one")],
            ..Filter::default()
        },
        limit: 200,
        cursor: None,
    };
    let page = tasks.list(&query).await.unwrap();
    assert!(page.tasks.is_empty() && page.next.is_some());
    query.cursor = page.next;
    let page = tasks.list(&query).await.unwrap();
    assert_eq!(page.tasks.len(), 1);
}

#[tokio::test]
async fn a_page_looks_at_a_hundred_days_at_most_and_names_where_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let now = Timestamp::now();
    add(&tasks, "old", |record| {
        record.created_at = now - (150 * 24).hours();
    })
    .await;
    let mut query = ListQuery {
        limit: 200,
        ..ListQuery::default()
    };
    let page = tasks.list(&query).await.unwrap();
    assert!(page.tasks.is_empty());
    query.cursor = Some(page.next.unwrap());
    let page = tasks.list(&query).await.unwrap();
    assert_eq!(page.tasks[0].task_id.to_string(), "old");
    assert_eq!(page.next, None);
}

#[tokio::test]
async fn a_cursor_names_no_task_of_another_tenant_and_nothing_is_missed_or_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let mut ours = Vec::new();
    // Several at one moment, of both tenants in every order.
    for number in 0..24_i64 {
        let tenant = if [2, 3, 4, 9, 10, 17].contains(&number) {
            "a"
        } else {
            "secret"
        };
        let name = format!("{tenant}-{number:02}");
        add(&tasks, &name, |record| {
            record.tenant = tenant.to_owned();
            record.created_at = noon + (number / 4).milliseconds();
        })
        .await;
        if tenant == "a" {
            ours.push(name);
        }
    }
    ours.sort();

    for limit in 1..4 {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let query = ListQuery {
                filter: Filter {
                    tenant: Some("a".to_owned()),
                    ..Filter::default()
                },
                limit,
                cursor,
            };
            let page = tasks.list(&query).await.unwrap();
            seen.extend(page.tasks.iter().map(|record| record.task_id.to_string()));
            let Some(next) = page.next else {
                break;
            };
            assert!(!next.contains("secret"), "{next}");
            assert!(ListQuery::takes_cursor(&next), "{next}");
            cursor = Some(next);
        }
        seen.sort();
        assert_eq!(seen, ours, "{limit}");
    }
}

#[test]
fn a_place_behind_what_may_not_be_named_is_told_by_its_time() {
    let entry = |time: u64, id: &str| format!("index/2026-03-01/{time:011}-{id}");
    let day = "2026-03-01".parse().unwrap();
    let mut place = super::super::listing::Place::at(day, None);
    place.pass(entry(7, "theirs"), false);
    assert_eq!(place.cursor(), "2026-03-01.00000000007");
    place.pass(entry(7, "ours"), true);
    assert_eq!(place.cursor(), "2026-03-01.00000000007-ours");
    place.pass(entry(7, "theirs-too"), false);
    assert_eq!(place.cursor(), "2026-03-01.00000000007-ours");
    place.pass(entry(8, "theirs"), false);
    assert_eq!(place.cursor(), "2026-03-01.00000000008");
}
