//! Which gateway looks for unfinished tasks, where several share a bucket and its jobs: one at a time.
//! The others attend only what they started themselves, so that what looking costs does not grow with
//! their number.

use std::sync::Arc;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::task::Lease;

/// A gateway that has not renewed its duty for so long is relieved.
const LENGTH: Duration = Duration::from_secs(30);

/// The duty as one gateway sees it.
#[derive(Debug)]
pub(super) enum Duty {
    /// Nobody shares it.
    Always,
    /// One has it at a time.
    Shared {
        bucket: Arc<dyn Bucket>,
        /// Random.
        owner: String,
        held: Option<Lease>,
    },
}

impl Duty {
    pub(super) fn shared(bucket: Arc<dyn Bucket>) -> Self {
        Self::Shared {
            bucket,
            owner: uuid::Uuid::new_v4().to_string(),
            held: None,
        }
    }

    /// Takes or renews it; whether it is ours now.
    pub(super) async fn is_ours(&mut self) -> bool {
        let Self::Shared {
            bucket,
            owner,
            held,
        } = self
        else {
            return true;
        };
        let kept = match held {
            Some(lease) => lease.renew().await,
            None => Ok(false),
        };
        let taken = match kept {
            Ok(true) => return true,
            Ok(false) => Lease::take_duty(Arc::clone(bucket), LENGTH, owner.clone()).await,
            // It stays ours unless somebody takes it: renewed once the storage answers again.
            Err(error) => Err(error),
        };
        match taken {
            Ok(taken) => {
                *held = taken;
                held.is_some()
            }
            Err(error) => {
                tracing::warn!(%error, "who looks for unfinished tasks cannot be settled");
                false
            }
        }
    }

    /// Leaves it to whoever comes next.
    pub(super) async fn release(self) {
        if let Self::Shared {
            held: Some(lease), ..
        } = self
            && let Err(error) = lease.release().await
        {
            tracing::warn!(%error, "the duty to look for unfinished tasks is left to run out");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;
    use crate::bucket::directory::DirectoryBucket;

    #[tokio::test]
    async fn one_of_two_has_it_until_it_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let bucket: Arc<dyn Bucket> =
            Arc::new(DirectoryBucket::open(folder.path().into()).unwrap());
        let mut one = Duty::shared(Arc::clone(&bucket));
        let mut other = Duty::shared(bucket);
        assert!(one.is_ours().await);
        assert!(!other.is_ours().await);
        assert!(one.is_ours().await);
        one.release().await;
        assert!(other.is_ours().await);
    }

    #[tokio::test]
    async fn a_storage_that_fails_for_a_moment_takes_it_from_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Arc::new(DirectoryBucket::open(folder.path().into()).unwrap());
        let mut duty = Duty::shared(bucket);
        assert!(duty.is_ours().await);
        let (place, away) = (folder.path().join("gateways"), folder.path().join("away"));
        std::fs::rename(&place, &away).unwrap();
        std::fs::write(&place, "no directory").unwrap();
        assert!(!duty.is_ours().await);
        std::fs::remove_file(&place).unwrap();
        std::fs::rename(&away, &place).unwrap();
        assert!(duty.is_ours().await);
    }
}
