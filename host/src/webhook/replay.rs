//! Looking at a task's delivery, and having it sent again.

use jiff::Timestamp;

use super::Entry;
use super::places::{damaged, due_name, encode, stands_finished};
use crate::bucket::{Bucket, BucketError, Durability, Generation, When};
use crate::task::{TaskId, names};

/// How often a replay looks again because a courier wrote meanwhile.
const TRIES: u32 = 5;

/// What became of a wish for a replay.
#[derive(Clone, Debug, PartialEq)]
pub enum Replayed {
    /// It is due now: nudge the courier.
    Begun(Box<Entry>),
    /// An attempt runs.
    UnderWay,
    /// There is nothing to send.
    Absent,
}

/// The delivery of a task that is over, while it is kept.
pub async fn delivery(bucket: &dyn Bucket, id: &TaskId) -> Result<Option<Entry>, BucketError> {
    Ok(find(bucket, id).await?.map(|(entry, _)| entry))
}

/// The same body, under the same id, once more from the first attempt on. What was kept of it stays until it is
/// finished anew.
pub async fn replay(bucket: &dyn Bucket, id: &TaskId) -> Result<Replayed, BucketError> {
    let name = due_name(&names::outbox(id));
    for _ in 0..TRIES {
        let Some((mut entry, when)) = find(bucket, id).await? else {
            return Ok(Replayed::Absent);
        };
        if !entry.replay(Timestamp::now()) {
            return Ok(Replayed::UnderWay);
        }
        let data = encode(&name, &entry)?;
        match bucket.put(&name, data, when, Durability::Synced).await {
            Ok(_) => return Ok(Replayed::Begun(Box::new(entry))),
            Err(BucketError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    // Whoever keeps changing it is a courier.
    Ok(Replayed::UnderWay)
}

/// The entry wherever it lies, and on which condition it may be put among those that are due.
async fn find(bucket: &dyn Bucket, id: &TaskId) -> Result<Option<(Entry, When)>, BucketError> {
    let kept = names::outbox(id);
    // In this order: it is moved in the same one, and so is found in either place.
    let due = read(bucket, &due_name(&kept)).await?;
    let kept = read(bucket, &kept).await?;
    Ok(match (due, kept) {
        (Some((due, generation)), kept) => {
            let finished = kept.filter(|kept| stands_finished(kept, &due));
            let entry = finished.map_or(due, |(kept, _)| kept);
            Some((entry, When::Matches(generation)))
        }
        (None, kept) => kept.map(|(kept, _)| (kept, When::Absent)),
    })
}

async fn read(bucket: &dyn Bucket, name: &str) -> Result<Option<(Entry, Generation)>, BucketError> {
    let Some(object) = bucket.get(name).await? else {
        return Ok(None);
    };
    let entry = serde_json::from_slice(&object.data).map_err(|error| damaged(name, error))?;
    Ok(Some((entry, object.generation)))
}
