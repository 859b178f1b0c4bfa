//! `outbox/{id}.json`: one delivery each, durable before it is tried.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::attempt::Outcome;
use super::to_canonical_json;
use crate::task::{Record, report};

/// A delivered entry stays for so long, as proof.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Attempts at an address that refuses for a reason that will hardly go away.
const MAX_REFUSED: u32 = 5;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// To be sent.
    Pending,
    /// The receiver answered 2xx. Kept for seven days.
    Delivered,
    /// Given up. Kept.
    Dead,
}

/// One delivery: the exact bytes, and how far it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// `msg_{taskId}_{event}`, the same at every attempt.
    pub id: String,
    /// Where to.
    pub url: String,
    /// What is signed and sent, to the byte.
    pub body: String,
    /// Where it stands.
    pub state: State,
    /// Attempts so far, the one that runs included.
    pub attempts: u32,
    /// Not before.
    pub next_attempt_at: Timestamp,
    /// Another courier may take it after this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub leased_until: Option<Timestamp>,
    /// How the last attempt ended; no byte of the receiver's answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
    /// When the receiver took it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delivered_at: Option<Timestamp>,
}

/// What there is to do for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// An attempt, not before this.
    Attempt(Timestamp),
    /// Its removal, not before this.
    Removal(Timestamp),
    /// Nothing.
    Never,
}

impl Entry {
    /// The report of a terminal record that has a callback URL.
    pub fn for_record(record: &Record) -> Option<Self> {
        if !record.status.is_terminal() {
            return None;
        }
        let url = record.callback_url.clone()?;
        Some(Self::carrying(record, url, report(record)))
    }

    fn carrying(record: &Record, url: String, report: Map<String, Value>) -> Self {
        Self {
            id: format!("msg_{}_{}", record.task_id, record.status.as_str()),
            url,
            body: to_canonical_json(&Value::Object(report)),
            state: State::Pending,
            attempts: 0,
            next_attempt_at: record.completed_at.unwrap_or_else(Timestamp::now),
            leased_until: None,
            last_error: None,
            delivered_at: None,
        }
    }

    /// What is next, by the ladder of waits.
    pub(super) fn due(&self, ladder: &[Duration]) -> Due {
        match self.state {
            State::Pending => {
                let first = if self.attempts == 0 {
                    ladder.first().copied()
                } else {
                    None
                };
                let at = later(self.next_attempt_at, first.unwrap_or_default());
                Due::Attempt(self.leased_until.map_or(at, |leased| leased.max(at)))
            }
            State::Delivered => {
                let since = self.delivered_at.unwrap_or(self.next_attempt_at);
                Due::Removal(since.saturating_add(KEPT).unwrap_or(Timestamp::MAX))
            }
            State::Dead => Due::Never,
        }
    }

    /// Taken for an attempt; nobody else takes it until `until`.
    pub(super) fn lease(&mut self, until: Timestamp) {
        self.attempts = self.attempts.saturating_add(1);
        self.leased_until = Some(until);
    }

    /// Given back before anything was learned: the attempt does not count.
    pub(super) fn give_back(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
        self.leased_until = None;
    }

    /// Notes how the attempt ended. `sway` between 0.8 and 1.2 spreads retries, so that receivers that
    /// come back are not met by everybody at once.
    pub(super) fn record(
        &mut self,
        outcome: &Outcome,
        ladder: &[Duration],
        sway: f64,
        now: Timestamp,
    ) {
        self.leased_until = None;
        let (error, retry_after, enough) = match outcome {
            Outcome::Delivered => {
                self.state = State::Delivered;
                self.delivered_at = Some(now);
                self.last_error = None;
                return;
            }
            Outcome::Gone => ("status 410".to_owned(), None, true),
            Outcome::Refused(error) => (error.clone(), None, self.attempts >= MAX_REFUSED),
            Outcome::Failed { error, retry_after } => (error.clone(), *retry_after, false),
        };
        self.last_error = Some(error);
        let rung = usize::try_from(self.attempts)
            .ok()
            .and_then(|attempts| ladder.get(attempts));
        match rung {
            Some(wait) if !enough => {
                let wait = wait.mul_f64(sway).max(retry_after.unwrap_or_default());
                self.next_attempt_at = later(now, wait);
            }
            _ => self.state = State::Dead,
        }
    }
}

fn later(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
pub(super) mod tests {
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
        assert_eq!(entry.due(&LADDER), Due::Never);
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
}
