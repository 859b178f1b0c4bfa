//! `tasks/{id}/lease.json`: at most one job works on a task, and a dead one is noticed. Likewise
//! `gateways/duty.json`.
//!
//! Does not stop a holder that lost its lease; the holder finds out when it renews. Relies on
//! `/proc` for the life of processes on this machine, and on the clock for others.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{TaskError, TaskId, names};
use crate::bucket::{Bucket, BucketError, Durability, Generation, When};

/// Who holds a lease, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Random, made by the holder.
    pub owner: String,
    /// Process id of the job on `host`.
    pub pid: u32,
    /// Field 22 of `/proc/{pid}/stat`: tells a process id from its reuse.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id` and the PID namespace, e.g. `… pid:[4026531836]`: tells
    /// this machine's run, and the container in it whose process ids are meant, from another.
    /// Empty where that is not known.
    pub boot_id: String,
    /// Past it the holder is taken for dead.
    pub expires_at: Timestamp,
}

/// A lease that this process holds.
#[derive(Debug)]
pub struct Lease {
    bucket: Arc<dyn Bucket>,
    name: String,
    length: Duration,
    pub(super) holder: Holder,
    generation: Generation,
}

impl Lease {
    /// Takes the lease where nobody holds it or the holder is dead; none where somebody does.
    /// A lease that cannot be read, as a loss of power leaves it, is nobody's.
    pub async fn take(
        bucket: Arc<dyn Bucket>,
        id: &TaskId,
        length: Duration,
    ) -> Result<Option<Self>, TaskError> {
        let owner = uuid::Uuid::new_v4().to_string();
        Self::take_named(bucket, names::lease(id), length, owner).await
    }

    /// The same for the duty that one of several gateways has at a time. What `owner` took by a try whose
    /// answer was lost it takes again.
    pub async fn take_duty(
        bucket: Arc<dyn Bucket>,
        length: Duration,
        owner: String,
    ) -> Result<Option<Self>, TaskError> {
        Self::take_named(bucket, names::duty().to_owned(), length, owner).await
    }

    async fn take_named(
        bucket: Arc<dyn Bucket>,
        name: String,
        length: Duration,
        owner: String,
    ) -> Result<Option<Self>, TaskError> {
        let when = match bucket.get(&name).await? {
            None => When::Absent,
            Some(object) => match serde_json::from_slice::<Holder>(&object.data) {
                Ok(holder) if holder.owner != owner && holder.is_alive() => return Ok(None),
                Ok(_) => When::Matches(object.generation),
                Err(error) => {
                    tracing::warn!(name, %error, "a lease cannot be read and is taken over");
                    When::Matches(object.generation)
                }
            },
        };
        let holder = Holder {
            owner,
            pid: std::process::id(),
            start_time: start_time_of("self").unwrap_or_default(),
            boot_id: boot_id(),
            expires_at: after(length),
        };
        match bucket
            .put(&name, encode(&holder), when, Durability::Buffered)
            .await
        {
            Ok(generation) => Ok(Some(Self {
                bucket,
                name,
                length,
                holder,
                generation,
            })),
            Err(BucketError::Conflict(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Renews it; false where it was lost to somebody else or the task was settled.
    pub async fn renew(&mut self) -> Result<bool, TaskError> {
        self.holder.expires_at = after(self.length);
        if self.write().await? {
            return Ok(true);
        }
        // A renewal that seemed to fail may have been stored after all.
        let Some(found) = self.bucket.get(&self.name).await? else {
            return Ok(false);
        };
        let is_ours = serde_json::from_slice::<Holder>(&found.data)
            .is_ok_and(|holder| holder.owner == self.holder.owner);
        if !is_ours {
            return Ok(false);
        }
        self.generation = found.generation;
        self.write().await
    }

    /// How far each renewal from now on reaches.
    pub fn set_length(&mut self, length: Duration) {
        self.length = length;
    }

    /// Gives it up, where it is still ours: the next may take it at once.
    pub async fn release(self) -> Result<(), TaskError> {
        let ours = When::Matches(self.generation);
        match self.bucket.delete(&self.name, ours).await {
            Ok(_) | Err(BucketError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn write(&mut self) -> Result<bool, TaskError> {
        let when = When::Matches(self.generation);
        match self
            .bucket
            .put(&self.name, encode(&self.holder), when, Durability::Buffered)
            .await
        {
            Ok(generation) => {
                self.generation = generation;
                Ok(true)
            }
            Err(BucketError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Who holds the lease of a task, alive or not.
    pub async fn holder(bucket: &dyn Bucket, id: &TaskId) -> Result<Option<Holder>, TaskError> {
        let Some(object) = bucket.get(&names::lease(id)).await? else {
            return Ok(None);
        };
        Ok(serde_json::from_slice(&object.data)
            .inspect_err(|error| tracing::warn!(task = %id, %error, "a lease cannot be read and is nobody's"))
            .ok())
    }
}

impl Holder {
    /// Whether the holder may still be at work: on this machine by its process, else by the clock.
    pub fn is_alive(&self) -> bool {
        if !self.boot_id.is_empty() && self.boot_id == boot_id() {
            return start_time_of(&self.pid.to_string()) == Some(self.start_time);
        }
        Timestamp::now() < self.expires_at
    }
}

pub(super) fn after(length: Duration) -> Timestamp {
    Timestamp::now()
        .checked_add(length)
        .unwrap_or(Timestamp::MAX)
}

pub(super) fn encode(holder: &Holder) -> Bytes {
    Bytes::from(serde_json::json!(holder).to_string())
}

pub(super) fn boot_id() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = fs::read_link("/proc/self/ns/pid");
    match (boot, namespace) {
        (Ok(boot), Ok(namespace)) => format!("{} {}", boot.trim(), namespace.display()),
        _ => String::new(),
    }
}

/// None where there is no such process, or it is dead and only not waited for.
pub(super) fn start_time_of(pid: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
