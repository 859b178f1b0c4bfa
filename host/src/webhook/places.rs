//! Where an entry lies: `outbox/due/{name}` until it is delivered or given up, then `outbox/{name}`.
//!
//! So a courier's look lists only what there is to do. An entry is written where it goes before it is removed
//! where it was. Of one that is in both places the finished one counts, unless the other was sent again since
//! ([`Entry::replays`]). Earlier versions left entries to be sent in the second place, too; whoever finds one
//! there puts it among those that are due.

use bytes::Bytes;

use super::{Entry, State};
use crate::bucket::{Bucket, BucketError, Durability, Generation, When};

/// Entries that are to be sent.
pub(super) const DUE: &str = "outbox/due/";
/// Entries that are kept; what is due lies below.
pub(super) const KEPT: &str = "outbox/";

/// The name of a kept entry among those that are due.
pub(super) fn due_name(kept: &str) -> String {
    format!("{DUE}{}", kept.strip_prefix(KEPT).unwrap_or(kept))
}

/// The name that an entry which is due is kept under.
pub(super) fn kept_name(due: &str) -> String {
    format!("{KEPT}{}", due.strip_prefix(DUE).unwrap_or(due))
}

/// Whether `kept` is how `due` ended.
pub(super) fn stands_finished((kept, _): &(Entry, Generation), due: &Entry) -> bool {
    kept.state != State::Pending && kept.replays >= due.replays
}

/// Has an entry sent under this name ([`crate::task::names::outbox`]), unless it was before.
pub async fn hand_in(bucket: &dyn Bucket, name: &str, entry: &Entry) -> Result<(), BucketError> {
    let data = match bucket.get(name).await? {
        None => encode(name, entry)?,
        Some(kept) => match serde_json::from_slice::<Entry>(&kept.data) {
            Ok(entry) if entry.state == State::Pending => kept.data,
            // One that is damaged is left alone.
            Ok(_) | Err(_) => return Ok(()),
        },
    };
    send(bucket, name, data).await
}

/// Puts a kept entry that is not finished among those that are due.
pub(super) async fn send(bucket: &dyn Bucket, kept: &str, data: Bytes) -> Result<(), BucketError> {
    let name = due_name(kept);
    match bucket
        .put(&name, data, When::Absent, Durability::Synced)
        .await
    {
        Ok(_) | Err(BucketError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn encode(name: &str, entry: &Entry) -> Result<Bytes, BucketError> {
    let data = serde_json::to_vec(entry);
    data.map(Bytes::from).map_err(|error| damaged(name, error))
}

pub(super) fn damaged(name: &str, error: serde_json::Error) -> BucketError {
    BucketError::Io {
        name: name.to_owned(),
        source: error.into(),
    }
}
