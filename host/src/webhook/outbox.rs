//! An entry of the outbox: one delivery, durable before it is tried.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::attempt::Outcome;
use super::to_canonical_json;
use crate::task::{Approval, Record, report};

/// A delivered entry stays for so long, as proof.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Attempts that are told of, the newest: more than the ladder of waits has, with room for replays.
const TOLD: usize = 50;

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
    /// Given up. Kept for a replay, within `webhook.dead_kept` and `webhook.max_dead`.
    Dead,
}

/// One attempt. Without a status, an error and a duration it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// From 1; replays count on.
    pub number: u32,
    /// Begun at.
    pub at: Timestamp,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<u64>,
    /// What the receiver answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_code: Option<u16>,
    /// Why there was no answer; no byte of the receiver's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// One delivery: the exact bytes, and how far it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// `msg_{taskId}_{event}` or `msg_{taskId}_approval_{call}`, the same at every attempt.
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
    /// When it was given up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dead_at: Option<Timestamp>,
    /// The newest attempts, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub history: Vec<Attempt>,
    /// How often somebody had it sent again.
    #[serde(default)]
    pub replays: u32,
    /// Attempts before the last replay, with which the ladder of waits began anew.
    #[serde(default)]
    pub attempts_before: u32,
}

/// What there is to do for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// An attempt, not before this.
    Attempt(Timestamp),
    /// Its removal, not before this.
    Removal(Timestamp),
    /// Nothing; it is dead since then, and not kept for ever.
    Kept(Timestamp),
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
        let id = format!("msg_{}_{}", record.task_id, record.status.as_str());
        let since = record.completed_at.unwrap_or_else(Timestamp::now);
        Self::new(id, url, &Value::Object(report), since)
    }

    /// Tells that a tool call of this task waits for a person, where the task has a callback URL. Its
    /// body has a `type`, which a report has not.
    pub fn for_approval(record: &Record, approval: &Approval) -> Option<Self> {
        let url = record.callback_url.clone()?;
        let id = format!("msg_{}_approval_{}", record.task_id, approval.call);
        let mut body = json!({
            "type": "approval.requested",
            "taskId": record.task_id,
            "labels": record.labels,
            "approval": approval,
        });
        if let (Some(metadata), Some(fields)) = (&record.metadata, body.as_object_mut()) {
            fields.insert("metadata".to_owned(), json!(metadata));
        }
        Some(Self::new(id, url, &body, approval.requested_at))
    }

    fn new(id: String, url: String, body: &Value, since: Timestamp) -> Self {
        Self {
            id,
            url,
            body: to_canonical_json(body),
            state: State::Pending,
            attempts: 0,
            next_attempt_at: since,
            leased_until: None,
            last_error: None,
            delivered_at: None,
            dead_at: None,
            history: Vec::new(),
            replays: 0,
            attempts_before: 0,
        }
    }

    /// When the next attempt is due, where there is one to come and none runs.
    pub fn next_attempt(&self, ladder: &[Duration], now: Timestamp) -> Option<Timestamp> {
        match self.due(ladder) {
            Due::Attempt(at) if !self.is_under_way(now) => Some(at),
            _ => None,
        }
    }

    fn is_under_way(&self, now: Timestamp) -> bool {
        self.state == State::Pending && self.leased_until.is_some_and(|until| until > now)
    }

    /// To be sent again, at once, by the ladder from its beginning; false where an attempt runs.
    pub(super) fn replay(&mut self, now: Timestamp) -> bool {
        if self.is_under_way(now) {
            return false;
        }
        self.state = State::Pending;
        self.next_attempt_at = now;
        self.delivered_at = None;
        self.dead_at = None;
        self.replays = self.replays.saturating_add(1);
        self.attempts_before = self.attempts;
        true
    }

    /// What is next, by the ladder of waits.
    pub(super) fn due(&self, ladder: &[Duration]) -> Due {
        match self.state {
            State::Pending => {
                let first = if self.attempts == 0 && self.replays == 0 {
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
            State::Dead => Due::Kept(self.dead_at.unwrap_or(self.next_attempt_at)),
        }
    }

    /// Begins an attempt that ends before `until`.
    pub(super) fn begin(&mut self, now: Timestamp, until: Timestamp) {
        if let Some(before) = self.running() {
            before.error = Some("interrupted: how it ended is not known".to_owned());
        }
        self.lease(until);
        if self.history.len() >= TOLD {
            self.history.remove(0);
        }
        self.history.push(Attempt {
            number: self.attempts,
            at: now,
            duration_ms: None,
            status_code: None,
            error: None,
        });
    }

    /// The last attempt, where nobody noted how it ended.
    fn running(&mut self) -> Option<&mut Attempt> {
        let number = self.attempts;
        self.history.last_mut().filter(|last| {
            last.number == number && last.status_code.is_none() && last.error.is_none()
        })
    }

    /// Taken for an attempt; nobody else takes it until `until`.
    pub(super) fn lease(&mut self, until: Timestamp) {
        self.attempts = self.attempts.saturating_add(1);
        self.leased_until = Some(until);
    }

    /// Given back before anything was learned: the attempt does not count.
    pub(super) fn give_back(&mut self) {
        if self.running().is_some() {
            self.history.pop();
        }
        self.attempts = self.attempts.saturating_sub(1);
        self.leased_until = None;
    }

    /// Notes what the receiver answered, if it did, after [`Entry::record`].
    pub(super) fn note(&mut self, status_code: Option<u16>, took: Duration) {
        let error = match status_code {
            Some(_) => None,
            None => self.last_error.clone(),
        };
        if let Some(last) = self.running() {
            last.duration_ms = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            last.status_code = status_code;
            last.error = error;
        }
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
        let tried = self.attempts.saturating_sub(self.attempts_before);
        let (error, retry_after, enough) = match outcome {
            Outcome::Delivered => {
                self.state = State::Delivered;
                self.delivered_at = Some(now);
                self.last_error = None;
                return;
            }
            Outcome::Gone => ("status 410".to_owned(), None, true),
            Outcome::Refused(error) => (error.clone(), None, tried >= MAX_REFUSED),
            Outcome::Failed { error, retry_after } => (error.clone(), *retry_after, false),
        };
        self.last_error = Some(error);
        let rung = usize::try_from(tried)
            .ok()
            .and_then(|tried| ladder.get(tried));
        match rung {
            Some(wait) if !enough => {
                let wait = wait.mul_f64(sway).max(retry_after.unwrap_or_default());
                self.next_attempt_at = later(now, wait);
            }
            _ => {
                self.state = State::Dead;
                self.dead_at = Some(now);
            }
        }
    }
}

fn later(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
pub(super) mod tests;
