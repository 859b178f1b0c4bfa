//! Reports to callers: signed, kept in a durable outbox, retried on a ladder.
//!
//! A report is never sent before the record that it tells of is durable. Does not know HTTP servers.
//! Relies on `outbound` to dial only what is allowed.

mod attempt;
mod canonical;
mod courier;
mod dead;
mod keeper;
#[cfg(test)]
mod memory;
mod outbox;
mod places;
mod post;
mod replay;
mod sign;

pub use canonical::to_canonical_json;
pub use courier::Courier;
pub use outbox::{Attempt, Entry, State};
pub use places::hand_in;
pub use replay::{Replayed, delivery, replay};
pub use sign::{Signer, USER_AGENT};
