//! `tasks/{id}/lease.json`: at most one job works on a task, and a dead one is noticed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{TaskError, TaskId};
use crate::bucket::Bucket;

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
    /// `/proc/sys/kernel/random/boot_id`: tells this machine's run from another.
    pub boot_id: String,
    /// Past it the holder is taken for dead.
    pub expires_at: Timestamp,
}

/// A lease that this process holds.
#[derive(Debug)]
pub struct Lease {}

impl Lease {
    /// Takes the lease where nobody holds it or the holder is dead; none where somebody does.
    pub async fn take(_bucket: Arc<dyn Bucket>, _id: &TaskId, _length: Duration) -> Result<Option<Self>, TaskError> {
        unimplemented!()
    }

    /// Renews it; false where it was lost to somebody else or the task was settled.
    pub async fn renew(&mut self) -> Result<bool, TaskError> {
        unimplemented!()
    }

    /// Who holds the lease of a task, alive or not.
    pub async fn holder(_bucket: &dyn Bucket, _id: &TaskId) -> Result<Option<Holder>, TaskError> {
        unimplemented!()
    }
}

impl Holder {
    /// Whether the holder may still be at work: on this machine by its process, else by the clock.
    pub fn is_alive(&self) -> bool {
        unimplemented!()
    }
}
