//! The names of a task's objects, in one place.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{CallId, TaskId};

/// `sessions/{id}/metadata.json`
pub fn record(id: &TaskId) -> String {
    format!("sessions/{id}/metadata.json")
}

/// What stood in the place of the record, where that could not be read.
pub fn damaged_record(id: &TaskId) -> String {
    format!("sessions/{id}/metadata.damaged")
}

/// `sessions/{id}/`: events, decisions and the record.
pub fn session(id: &TaskId) -> String {
    format!("sessions/{id}/")
}

/// `sessions/{id}/{first sequence, 12 digits}.jsonl`: a reader knows the next chunk's name.
pub fn chunk(id: &TaskId, first: u64) -> String {
    format!("sessions/{id}/{first:012}.jsonl")
}

/// `sessions/{id}/decisions.jsonl`
pub fn decisions(id: &TaskId) -> String {
    format!("sessions/{id}/decisions.jsonl")
}

/// `sessions/{id}/approvals/`
pub fn approvals(id: &TaskId) -> String {
    format!("sessions/{id}/approvals/")
}

/// `sessions/{id}/approvals/{call}.json`
pub fn approval(id: &TaskId, call: &CallId) -> String {
    format!("sessions/{id}/approvals/{call}.json")
}

/// The call of an object below `approvals/`.
pub(super) fn call_of_approval(name: &str) -> Option<CallId> {
    let (_, name) = name.rsplit_once('/')?;
    name.strip_suffix(".json")?.parse().ok()
}

/// `outbox/{id}.approval-{call}.json`: no task's id holds a full stop. While it is to be sent, it lies below
/// `outbox/due/`.
pub fn approval_outbox(id: &TaskId, call: &CallId) -> String {
    format!("outbox/{id}.approval-{call}.json")
}

/// `tasks/{id}/`: what exists only until the task is over and settled. Whoever lists `tasks/` sees
/// all unfinished work.
pub fn transient(id: &TaskId) -> String {
    format!("tasks/{id}/")
}

/// `gateways/duty.json`: which of several gateways looks for unfinished tasks.
pub fn duty() -> &'static str {
    "gateways/duty.json"
}

/// `tasks/{id}/payload.enc`
pub fn payload(id: &TaskId) -> String {
    format!("tasks/{id}/payload.enc")
}

/// `tasks/{id}/lease.json`
pub fn lease(id: &TaskId) -> String {
    format!("tasks/{id}/lease.json")
}

/// `tasks/{id}/followed.json`: that somebody follows it at another gateway than the one that took it.
pub(super) fn followed(id: &TaskId) -> String {
    format!("tasks/{id}/followed.json")
}

/// `files/{id}/`
pub fn artifacts(id: &TaskId) -> String {
    format!("files/{id}/")
}

/// `outbox/{id}.json`. While it is to be sent, it lies below `outbox/due/`.
pub fn outbox(id: &TaskId) -> String {
    format!("outbox/{id}.json")
}

/// Entries that tell the days of keys.
pub(super) const IDEMPOTENCY_DAYS: &str = "idempotency/days/";

/// `idempotency/keys/{key}`
pub(super) fn idempotency_key(key: &str) -> String {
    format!("idempotency/keys/{key}")
}

/// `idempotency/days/{yyyy-mm-dd}/{key}`, by UTC.
pub(super) fn idempotency_day(day: Date, key: &str) -> String {
    format!("{IDEMPOTENCY_DAYS}{day}/{key}")
}

/// The day and the key of an entry below `idempotency/days/`.
pub(super) fn key_of_day(name: &str) -> Option<(Date, &str)> {
    let (day, key) = name.strip_prefix(IDEMPOTENCY_DAYS)?.split_once('/')?;
    Some((day.parse().ok()?, key))
}

/// The first sequence number of a chunk, by its full name; none where the name is no chunk's.
pub(super) fn first_of(chunk: &str) -> Option<u64> {
    let (_, name) = chunk.rsplit_once('/')?;
    let digits = name.strip_suffix(".jsonl")?;
    if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The task of an object below `tasks/`.
pub(super) fn task_of_transient(name: &str) -> Option<TaskId> {
    let (id, _) = name.strip_prefix("tasks/")?.split_once('/')?;
    id.parse().ok()
}

/// `index/{yyyy-mm-dd}/`, by UTC.
pub(super) fn index_day(day: Date) -> String {
    format!("index/{day}/")
}

/// `index/{yyyy-mm-dd}/{time}-{id}`, where `time` is the microseconds that were left of the day,
/// 11 digits: in byte order the newest of a day comes first.
pub(super) fn index(created_at: Timestamp, id: &TaskId) -> String {
    let left = left_of_day(created_at);
    format!("{}{left:011}-{id}", index_day(day_of(created_at)))
}

fn left_of_day(at: Timestamp) -> i64 {
    const LAST_OF_DAY: i64 = 86_400_000_000 - 1;
    LAST_OF_DAY - at.as_microsecond().rem_euclid(LAST_OF_DAY + 1)
}

/// Comes in the index after every task that was accepted at `until` or later on that day, and before
/// every one that was accepted earlier.
pub(super) fn index_until(until: Timestamp) -> String {
    // The point comes after the hyphen that ends a time.
    format!("{}{:011}.", index_day(day_of(until)), left_of_day(until))
}

/// The day of an index entry.
pub(super) fn day_of_index(name: &str) -> Option<Date> {
    name.strip_prefix("index/")?.split_once('/')?.0.parse().ok()
}

/// The task of an index entry.
pub(super) fn task_of_index(name: &str) -> Option<TaskId> {
    name.rsplit_once('/')?.1.split_once('-')?.1.parse().ok()
}

/// An index entry without its task: comes before every task that was accepted at the same moment. None where
/// the name tells no time.
pub(super) fn time_of_index(name: &str) -> Option<&str> {
    let (time, _) = name.split_at_checked(name.rfind('/')? + 1 + TIME_DIGITS)?;
    let (_, digits) = time.rsplit_once('/')?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(time)
}

/// Of the time in an index entry.
const TIME_DIGITS: usize = 11;

/// The UTC day of a moment.
pub(super) fn day_of(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;

    #[test]
    fn a_chunk_is_known_by_its_twelve_digits_even_where_the_task_begins_with_digits() {
        let id: TaskId = "12345678-1".parse().unwrap();
        assert_eq!(chunk(&id, 7), "sessions/12345678-1/000000000007.jsonl");
        assert_eq!(first_of(&chunk(&id, 1_234_567)), Some(1_234_567));
        for other in [
            record(&id),
            decisions(&id),
            "sessions/x/007.jsonl".to_owned(),
        ] {
            assert_eq!(first_of(&other), None, "{other}");
        }
    }

    #[test]
    fn newer_tasks_of_a_day_come_first_in_the_index() {
        let id: TaskId = "a-b".parse().unwrap();
        let at = |text: &str| index(text.parse().unwrap(), &id);
        assert_eq!(
            at("2026-11-23T00:00:00Z"),
            "index/2026-11-23/86399999999-a-b"
        );
        assert_eq!(
            at("2026-11-23T23:59:59.999999999Z"),
            "index/2026-11-23/00000000000-a-b"
        );
        assert!(at("2026-11-23T12:00:00.000002Z") < at("2026-11-23T12:00:00.000001Z"));
        let name = at("2026-11-23T12:00:00Z");
        assert_eq!(task_of_index(&name), Some(id.clone()));
        assert_eq!(day_of_index(&name), Some("2026-11-23".parse().unwrap()));
    }

    #[test]
    fn the_task_of_a_transient_object_is_read_off_its_name() {
        let id: TaskId = "x".parse().unwrap();
        assert_eq!(task_of_transient(&payload(&id)), Some(id));
        assert_eq!(task_of_transient("tasks/.."), None);
        assert_eq!(task_of_transient("sessions/x/metadata.json"), None);
    }
}
