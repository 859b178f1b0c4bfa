//! One entry on its way: taken, sent, and put where it belongs then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::attempt::attempt;
use super::outbox::Due;
use super::places::{encode, kept_name, stands_finished};
use super::{Entry, Signer, State};
use crate::bucket::{Bucket, BucketError, Durability, Generation, When};
use crate::config;
use crate::outbound::Outbound;

/// A lease outlives the attempt by this much, for what is written before and after it.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// How often an end is written anew because the kept entry was changed in between.
const TRIES: u32 = 4;

/// What one attempt works with.
pub(super) struct Post {
    pub(super) bucket: Arc<dyn Bucket>,
    pub(super) outbound: Outbound,
    pub(super) signer: watch::Receiver<Signer>,
    pub(super) settings: config::Webhook,
    /// An entry is dead.
    pub(super) given_up: Arc<Notify>,
}

impl Post {
    /// Takes the entry, by its name among those that are due, sends it, writes down how it ended.
    pub(super) async fn carry(
        &self,
        name: &str,
        stop: &CancellationToken,
    ) -> Result<(), BucketError> {
        let Some((mut entry, generation)) = self.read(name).await? else {
            return Ok(());
        };
        let kept = self.read(&kept_name(name)).await?;
        if kept
            .as_ref()
            .is_some_and(|kept| stands_finished(kept, &entry))
        {
            // Its courier died before it had removed this.
            return self.remove(name, generation).await;
        }
        let replaces = kept.map(|(_, generation)| generation);
        if entry.state != State::Pending {
            return self.finish(name, &entry, generation, replaces).await;
        }
        let now = Timestamp::now();
        if !matches!(entry.due(&self.settings.retry), Due::Attempt(at) if at <= now) {
            return Ok(());
        }
        let lease = self.settings.timeout.saturating_add(LEASE_MARGIN);
        entry.begin(now, now.saturating_add(lease).unwrap_or(Timestamp::MAX));
        let Some(generation) = self.write(name, &entry, generation).await? else {
            return Ok(());
        };
        let started = Instant::now();
        let signer = self.signer.borrow().clone();
        tokio::select! {
            (outcome, status) = attempt(&entry, &signer, &self.outbound, self.settings.timeout) => {
                entry.record(&outcome, &self.settings.retry, sway(), Timestamp::now());
                entry.note(status, started.elapsed());
                tracing::info!(
                    message_id = entry.id,
                    state = ?entry.state,
                    attempts = entry.attempts,
                    error = entry.last_error,
                    "a report was tried"
                );
            }
            () = stop.cancelled() => entry.give_back(),
        }
        if entry.state != State::Pending {
            return self.finish(name, &entry, generation, replaces).await;
        }
        self.write(name, &entry, generation).await?;
        Ok(())
    }

    /// Puts a finished entry where it is kept, in the place of `replaces`, and only then removes it from those that
    /// are due: it is never in neither place. Where somebody else changed either meanwhile, that stands.
    async fn finish(
        &self,
        name: &str,
        entry: &Entry,
        generation: Generation,
        replaces: Option<Generation>,
    ) -> Result<(), BucketError> {
        let kept = kept_name(name);
        let mut when = replaces.map_or(When::Absent, When::Matches);
        let data = encode(&kept, entry)?;
        for _ in 0..TRIES {
            match self
                .bucket
                .put(&kept, data.clone(), when, Durability::Synced)
                .await
            {
                Ok(_) => break,
                // What was there may only have been removed, or taken over from an earlier version.
                Err(BucketError::Conflict(_)) => match self.read(&kept).await? {
                    Some(found) if stands_finished(&found, entry) => break,
                    found => when = found.map_or(When::Absent, |(_, at)| When::Matches(at)),
                },
                Err(error) => return Err(error),
            }
        }
        self.remove(name, generation).await?;
        if entry.state == State::Dead {
            self.given_up.notify_one();
        }
        Ok(())
    }

    /// The entry, if it is there and can be read.
    pub(super) async fn read(
        &self,
        name: &str,
    ) -> Result<Option<(Entry, Generation)>, BucketError> {
        let Some(object) = self.bucket.get(name).await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&object.data) {
            Ok(entry) => Ok(Some((entry, object.generation))),
            Err(error) => {
                tracing::error!(entry = name, %error, "an entry of the outbox is damaged and left alone");
                Ok(None)
            }
        }
    }

    /// None where somebody else changed it meanwhile: then it is theirs.
    async fn write(
        &self,
        name: &str,
        entry: &Entry,
        from: Generation,
    ) -> Result<Option<Generation>, BucketError> {
        let (data, when) = (encode(name, entry)?, When::Matches(from));
        match self.bucket.put(name, data, when, Durability::Synced).await {
            Ok(generation) => Ok(Some(generation)),
            Err(BucketError::Conflict(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, name: &str, generation: Generation) -> Result<(), BucketError> {
        match self.bucket.delete(name, When::Matches(generation)).await {
            Ok(_) | Err(BucketError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Between 0.8 and 1.2; 1 where the system has no randomness to give.
fn sway() -> f64 {
    getrandom::u32().map_or(1.0, |random| {
        0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX)
    })
}
