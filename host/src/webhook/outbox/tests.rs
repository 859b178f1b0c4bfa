#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use serde_json::json;

use super::*;

pub(in crate::webhook) fn entry(url: &str) -> Entry {
    Entry {
        id: "msg_t1_completed".to_owned(),
        url: url.to_owned(),
        body: r#"{"taskId":"t1"}"#.to_owned(),
        state: State::Pending,
        attempts: 0,
        next_attempt_at: Timestamp::UNIX_EPOCH,
        leased_until: None,
        last_error: None,
        delivered_at: None,
        dead_at: None,
        history: Vec::new(),
        replays: 0,
        attempts_before: 0,
    }
}

const LADDER: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(300),
];

fn failed(retry_after: Option<Duration>) -> Outcome {
    Outcome::Failed {
        error: "status 503".to_owned(),
        retry_after,
    }
}

fn wait_after(entry: &Entry, now: Timestamp) -> SignedDuration {
    entry.next_attempt_at.duration_since(now)
}

#[test]
fn failures_climb_the_ladder_and_end_dead() {
    let now = Timestamp::UNIX_EPOCH;
    let mut entry = entry("http://127.0.0.1/");
    entry.lease(now);
    entry.record(&failed(None), &LADDER, 1.0, now);
    assert_eq!(
        (entry.state, wait_after(&entry, now).as_secs()),
        (State::Pending, 5)
    );
    entry.lease(now);
    entry.record(&failed(None), &LADDER, 1.2, now);
    assert_eq!(
        (entry.state, wait_after(&entry, now).as_secs()),
        (State::Pending, 360)
    );
    entry.lease(now);
    entry.record(&failed(None), &LADDER, 1.0, now);
    assert_eq!(entry.state, State::Dead);
    assert_eq!(entry.last_error.as_deref(), Some("status 503"));
    assert_eq!(entry.due(&LADDER), Due::Kept(now));
}

#[test]
fn the_receivers_own_wait_is_honoured_where_it_is_longer() {
    let now = Timestamp::UNIX_EPOCH;
    let mut entry = entry("http://127.0.0.1/");
    entry.lease(now);
    entry.record(&failed(Some(Duration::from_secs(120))), &LADDER, 1.0, now);
    assert_eq!(wait_after(&entry, now).as_secs(), 120);
    entry.lease(now);
    entry.record(&failed(Some(Duration::from_secs(1))), &LADDER, 1.0, now);
    assert_eq!(wait_after(&entry, now).as_secs(), 300);
}

#[test]
fn a_receiver_that_is_gone_is_not_asked_again() {
    let mut entry = entry("http://127.0.0.1/");
    entry.lease(Timestamp::UNIX_EPOCH);
    entry.record(&Outcome::Gone, &LADDER, 1.0, Timestamp::UNIX_EPOCH);
    assert_eq!(entry.state, State::Dead);
}

#[test]
fn a_refusing_receiver_is_tried_five_times_at_most() {
    let ladder = [Duration::ZERO; 10];
    let mut entry = entry("http://127.0.0.1/");
    while entry.state == State::Pending {
        entry.lease(Timestamp::UNIX_EPOCH);
        entry.record(
            &Outcome::Refused("status 404".to_owned()),
            &ladder,
            1.0,
            Timestamp::UNIX_EPOCH,
        );
    }
    assert_eq!(entry.attempts, 5);
}

#[test]
fn a_delivered_entry_is_removed_after_seven_days() {
    let mut entry = entry("http://127.0.0.1/");
    entry.lease(Timestamp::UNIX_EPOCH);
    entry.record(&Outcome::Delivered, &LADDER, 1.0, Timestamp::UNIX_EPOCH);
    assert_eq!(
        entry.due(&LADDER),
        Due::Removal(Timestamp::from_second(7 * 86_400).unwrap())
    );
}

#[test]
fn a_leased_entry_is_not_due_before_its_lease_ends() {
    let until = Timestamp::from_second(60).unwrap();
    let mut entry = entry("http://127.0.0.1/");
    entry.lease(until);
    assert_eq!(entry.due(&LADDER), Due::Attempt(until));
    entry.give_back();
    assert_eq!(
        (entry.due(&LADDER), entry.attempts),
        (Due::Attempt(Timestamp::UNIX_EPOCH), 0)
    );
}

#[test]
fn attempts_are_told_of_and_their_number_is_bounded() {
    let now = Timestamp::UNIX_EPOCH;
    let mut entry = entry("http://127.0.0.1/");
    entry.begin(now, now);
    entry.record(&failed(None), &LADDER, 1.0, now);
    entry.note(Some(503), Duration::from_millis(7));
    entry.begin(now, now);
    // Its courier died, and another one takes over.
    entry.begin(now, now);
    entry.give_back();
    entry.begin(now, now);
    entry.record(
        &Outcome::Failed {
            error: "timed out".to_owned(),
            retry_after: None,
        },
        &LADDER,
        1.0,
        now,
    );
    entry.note(None, Duration::from_secs(1));
    let told: Vec<_> = entry
        .history
        .iter()
        .map(|it| {
            (
                it.number,
                it.status_code,
                it.error.as_deref(),
                it.duration_ms,
            )
        })
        .collect();
    let interrupted = Some("interrupted: how it ended is not known");
    assert_eq!(
        told,
        [
            (1, Some(503), None, Some(7)),
            (2, None, interrupted, None),
            (3, None, Some("timed out"), Some(1000)),
        ]
    );
    for _ in 0..100 {
        entry.begin(now, now);
    }
    assert_eq!(entry.history.len(), TOLD);
    assert_eq!(entry.history.last().unwrap().number, 103);
}

#[test]
fn a_replay_is_due_at_once_and_begins_the_ladder_anew() {
    let now = Timestamp::from_second(1000).unwrap();
    let mut entry = entry("http://127.0.0.1/");
    while entry.state == State::Pending {
        entry.begin(now, now);
        entry.record(&failed(None), &LADDER, 1.0, now);
    }
    assert!(entry.replay(now));
    assert_eq!(entry.dead_at, None);
    assert_eq!(entry.due(&LADDER), Due::Attempt(now));
    assert_eq!(entry.next_attempt(&LADDER, now), Some(now));
    entry.begin(now, later(now, Duration::from_secs(60)));
    assert_eq!(entry.next_attempt(&LADDER, now), None);
    assert!(!entry.replay(now), "an attempt runs");
    entry.record(&failed(None), &LADDER, 1.0, now);
    assert_eq!(
        (entry.state, wait_after(&entry, now).as_secs()),
        (State::Pending, 5)
    );
    // One that waits for its turn is sent at once, too, even where the first rung is a wait.
    assert!(entry.replay(now));
    let mut fresh = self::entry("http://127.0.0.1/");
    assert!(fresh.replay(now));
    assert_eq!(fresh.due(&[Duration::from_secs(9)]), Due::Attempt(now));
    entry.begin(now, now);
    entry.record(&Outcome::Delivered, &LADDER, 1.0, now);
    assert!(entry.replay(now));
    assert_eq!((entry.state, entry.delivered_at), (State::Pending, None));
}

#[test]
fn an_entry_of_an_earlier_version_is_read() {
    let old = serde_json::json!({
        "id": "msg_t1_completed", "url": "http://127.0.0.1/", "body": "{}", "state": "dead",
        "attempts": 10, "nextAttemptAt": "2026-01-02T03:04:05Z", "lastError": "status 500",
    });
    let entry: Entry = serde_json::from_value(old).unwrap();
    assert_eq!((entry.attempts, entry.history.len()), (10, 0));
    assert_eq!(entry.due(&LADDER), Due::Kept(entry.next_attempt_at));
}

#[test]
fn an_entry_carries_the_report_in_canonical_form_under_a_name_that_stays() {
    let record: Record = serde_json::from_value(json!({
        "taskId": "t-1", "status": "failed", "phase": "ended", "executionMode": "async",
        "caller": "anonymous", "createdAt": "2026-01-02T03:04:05Z",
        "completedAt": "2026-01-02T03:05:05Z", "logsPath": "file:///x/", "encryptedPayloadPath": "p",
        "callbackUrl": "https://example.com/hook?token=t", "effective": {}, "pluginSet": "r",
    }))
    .unwrap();
    let report = json!({ "status": "failed", "metadata": { "b": 1.0, "2": 0, "1": "é" } });
    let entry = Entry::carrying(
        &record,
        record.callback_url.clone().unwrap(),
        report.as_object().unwrap().clone(),
    );
    assert_eq!(entry.id, "msg_t-1_failed");
    assert_eq!(
        entry.body,
        r#"{"status":"failed","metadata":{"1":"é","2":0,"b":1}}"#
    );
    assert_eq!(Some(entry.next_attempt_at), record.completed_at);
    assert_eq!(entry.url, "https://example.com/hook?token=t");
}
