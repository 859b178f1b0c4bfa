//! `outbox/{id}.json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::task::Record;

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
    /// Attempts so far.
    pub attempts: u32,
    /// Not before.
    pub next_attempt_at: Timestamp,
    /// Another courier may take it after this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub leased_until: Option<Timestamp>,
    /// How the last attempt ended; no byte of the receiver's answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
}

impl Entry {
    /// The report of a terminal record that has a callback URL.
    pub fn for_record(_record: &Record) -> Option<Self> {
        unimplemented!()
    }
}
