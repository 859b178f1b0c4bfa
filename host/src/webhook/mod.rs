//! Reports to callers: signed, kept in a durable outbox, retried on a ladder.
//!
//! A report is never sent before the record that it tells of is durable. Does not know HTTP servers.
//! Relies on `outbound` to dial only what is allowed.

mod canonical;
mod outbox;
mod sign;

use std::sync::Arc;

use crate::bucket::Bucket;
use crate::config::Config;
use crate::outbound::Outbound;

pub use canonical::to_canonical_json;
pub use outbox::{Entry, State};
pub use sign::Signer;

/// Sends what is in the outbox; one per gateway, any number may share a bucket.
#[derive(Debug)]
pub struct Courier {}

impl Courier {
    /// Starts delivering: what is due now, what becomes due, what [`Courier::nudge`] points at.
    pub fn start(_config: &Config, _bucket: Arc<dyn Bucket>, _outbound: Outbound) -> Arc<Self> {
        unimplemented!()
    }

    /// Looks into the outbox at once: a task may have ended.
    pub fn nudge(&self) {
        unimplemented!()
    }

    /// Ends running attempts' waiting and stops; what was not delivered stays in the outbox.
    pub async fn stop(&self) {
        unimplemented!()
    }
}
