//! Requests that are sent again: a caller's `Idempotency-Key` leads to the task that it made first.
//!
//! `idempotency/keys/{key}` is the claim: created only if absent, before the task is, and saying which
//! task that will be. A claim whose task never came into being is carried out by the next request
//! under the key, with the same id, so that two who do it at once still make one task.
//!
//! `idempotency/days/{yyyy-mm-dd}/{key}` lets keys that are over be found by their day, as the index
//! does for tasks. It is written first: no claim can stay for ever.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Record, TaskError, TaskId, Tasks, names};
use crate::bucket::{BucketError, Durability, Generation, When};

/// A key leads to its task for so long.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Names read at once.
const PAGE: usize = 1000;

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Tells the request from every other.
    pub fingerprint: String,
    /// The task that it makes.
    pub task_id: TaskId,
    /// Accepted at: the key's time begins, and the task's record has the same.
    pub created_at: Timestamp,
    /// What `/run-async` answers, every time.
    pub answer: Value,
}

impl Claim {
    /// Whether the key may stand for something new.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.created_at) >= KEPT
    }

    /// Whether this is the record of the task that the claim under `key` announced. An id that a
    /// caller chose may have been taken by another request.
    pub fn announced(&self, key: &str, record: &Record) -> bool {
        record.idempotency.as_deref() == Some(key) && record.created_at == self.created_at
    }
}

impl Tasks {
    /// The claim under a key, over or not.
    pub async fn claim(&self, key: &str) -> Result<Option<(Claim, Generation)>, TaskError> {
        let name = names::idempotency_key(key);
        let Some(object) = self.bucket().get(&name).await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&object.data) {
            Ok(claim) => Ok(Some((claim, object.generation))),
            Err(source) => Err(BucketError::Io {
                name,
                source: source.into(),
            }
            .into()),
        }
    }

    /// Stores a claim in the place of `before`, which is over, or of none. None where somebody else
    /// stored one meanwhile.
    pub async fn stake(
        &self,
        key: &str,
        claim: &Claim,
        before: Option<Generation>,
    ) -> Result<Option<Generation>, TaskError> {
        let day = names::idempotency_day(names::day_of(claim.created_at), key);
        match self
            .bucket()
            .put(&day, Bytes::new(), When::Absent, Durability::Buffered)
            .await
        {
            Ok(_) | Err(BucketError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let name = names::idempotency_key(key);
        let data = serde_json::to_vec(claim).map_err(|source| BucketError::Io {
            name: name.clone(),
            source: source.into(),
        })?;
        let when = before.map_or(When::Absent, When::Matches);
        match self
            .bucket()
            .put(&name, data.into(), when, Durability::Synced)
            .await
        {
            Ok(generation) => Ok(Some(generation)),
            Err(BucketError::Conflict(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a key back whose request made no task.
    pub async fn unclaim(&self, key: &str, claimed: Generation) -> Result<(), TaskError> {
        let name = names::idempotency_key(key);
        match self.bucket().delete(&name, When::Matches(claimed)).await {
            Ok(_) | Err(BucketError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the keys of the days on which every key is over; how many.
    pub async fn remove_old_claims(&self, now: Timestamp) -> Result<usize, TaskError> {
        let last_over = names::day_of(now.saturating_sub(KEPT).unwrap_or(Timestamp::MIN));
        let mut removed = 0;
        loop {
            // The oldest day comes first, and what was looked at is gone from the next page.
            let page = self
                .bucket()
                .list(names::IDEMPOTENCY_DAYS, None, PAGE)
                .await?;
            for entry in &page {
                let Some((day, key)) = names::key_of_day(&entry.name) else {
                    tracing::warn!(name = entry.name, "belongs to no key");
                    return Ok(removed);
                };
                if day >= last_over {
                    return Ok(removed);
                }
                // It may stand for a newer request since.
                if let Some((claim, generation)) = self.claim(key).await?
                    && claim.is_over(now)
                {
                    self.unclaim(key, generation).await?;
                }
                self.bucket().delete(&entry.name, When::Always).await?;
                removed += 1;
            }
            if page.len() < PAGE {
                return Ok(removed);
            }
        }
    }
}

/// Removes old keys now and every hour.
pub async fn keep_removing_old_claims(tasks: Tasks) {
    let mut hours = tokio::time::interval(std::time::Duration::from_secs(3600));
    loop {
        hours.tick().await;
        match tasks.remove_old_claims(Timestamp::now()).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed idempotency keys that are over"),
            Err(error) => tracing::warn!(%error, "old idempotency keys cannot be removed"),
        }
    }
}
