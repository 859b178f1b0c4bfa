//! Looking at a task's delivery, and having it sent again.

use jiff::Timestamp;

use super::Entry;
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
    Ok(read(bucket, &names::outbox(id))
        .await?
        .map(|(entry, _)| entry))
}

/// The same body, under the same id, once more from the first attempt on.
pub async fn replay(bucket: &dyn Bucket, id: &TaskId) -> Result<Replayed, BucketError> {
    let name = names::outbox(id);
    for _ in 0..TRIES {
        let Some((mut entry, generation)) = read(bucket, &name).await? else {
            return Ok(Replayed::Absent);
        };
        if !entry.replay(Timestamp::now()) {
            return Ok(Replayed::UnderWay);
        }
        let data = serde_json::to_vec(&entry).map_err(|error| damaged(&name, error))?;
        let when = When::Matches(generation);
        match bucket
            .put(&name, data.into(), when, Durability::Synced)
            .await
        {
            Ok(_) => return Ok(Replayed::Begun(Box::new(entry))),
            Err(BucketError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    // Whoever keeps changing it is a courier.
    Ok(Replayed::UnderWay)
}

async fn read(bucket: &dyn Bucket, name: &str) -> Result<Option<(Entry, Generation)>, BucketError> {
    let Some(object) = bucket.get(name).await? else {
        return Ok(None);
    };
    let entry = serde_json::from_slice(&object.data).map_err(|error| damaged(name, error))?;
    Ok(Some((entry, object.generation)))
}

fn damaged(name: &str, error: serde_json::Error) -> BucketError {
    BucketError::Io {
        name: name.to_owned(),
        source: error.into(),
    }
}
