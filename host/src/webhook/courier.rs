//! Who carries the outbox's entries: any number of couriers may share a bucket.
//!
//! A courier takes an entry by compare-and-set with a lease, sends it and writes down how that ended.
//! If it dies in between, another takes the entry when the lease is over: a report may arrive twice,
//! under the same `webhook-id`, but never not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::attempt;
use super::dead::{self, Dead};
use super::outbox::Due;
use super::{Entry, Signer};
use crate::bucket::{self, Bucket, BucketError, Durability, Generation, When};
use crate::config::{self, Config};
use crate::outbound::Outbound;

const OUTBOX: &str = "outbox/";

/// Names read at once.
const PAGE: usize = 1000;
/// Entries read at once.
const READS: usize = 16;

/// After a fault of the storage.
const PAUSE: Duration = Duration::from_secs(1);

/// The outbox is looked through this often at least: hints may be missing.
const SWEEP: Duration = Duration::from_secs(30);

/// A lease outlives the attempt by this much, for what is written before and after it.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// Sends what is in the outbox; one per gateway, any number may share a bucket.
#[derive(Debug)]
pub struct Courier {
    nudges: Arc<Notify>,
    /// None where nothing may leave.
    signer: Option<watch::Sender<Signer>>,
    stop: CancellationToken,
    work: TaskTracker,
}

impl Courier {
    /// Starts delivering: what is due now, what becomes due, what [`Courier::nudge`] points at. Signs
    /// with `webhook.secret`; where that is empty nothing leaves and all stays in the outbox.
    pub fn start(config: &Config, bucket: Arc<dyn Bucket>, outbound: Outbound) -> Arc<Self> {
        Self::with(config.webhook.clone(), bucket, outbound)
    }

    fn with(settings: config::Webhook, bucket: Arc<dyn Bucket>, outbound: Outbound) -> Arc<Self> {
        let signer = Signer::new(&settings.secret).map(watch::channel);
        let courier = Arc::new(Self {
            nudges: Arc::new(Notify::new()),
            signer: signer.as_ref().map(|(sender, _)| sender.clone()),
            stop: CancellationToken::new(),
            work: TaskTracker::new(),
        });
        match signer {
            Some((_, signer)) => {
                let post = Arc::new(Post {
                    bucket,
                    outbound,
                    signer,
                    settings,
                });
                let round = Round {
                    post,
                    nudges: Arc::clone(&courier.nudges),
                    stop: courier.stop.clone(),
                    seen: HashMap::new(),
                    running: JoinSet::new(),
                    names: HashMap::new(),
                };
                courier.work.spawn(round.run());
            }
            None => tracing::error!("there is no webhook secret: reports stay in the outbox"),
        }
        courier.work.close();
        courier
    }

    /// Looks into the outbox at once: a task may have ended.
    pub fn nudge(&self) {
        self.nudges.notify_one();
    }

    /// Signs with these secrets from the next attempt on.
    pub fn sign_with(&self, secrets: &[SecretString]) {
        if let (Some(sender), Some(signer)) = (&self.signer, Signer::new(secrets)) {
            sender.send_replace(signer);
        }
    }

    /// Ends running attempts' waiting and stops; what was not delivered stays in the outbox.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.work.wait().await;
    }
}

/// The loop's own state.
struct Round {
    post: Arc<Post>,
    nudges: Arc<Notify>,
    stop: CancellationToken,
    /// What is due for which content, so that an entry is read once per change, not once per look.
    seen: HashMap<String, (Generation, Due)>,
    running: JoinSet<()>,
    /// Entries that an attempt of ours runs for.
    names: HashMap<tokio::task::Id, String>,
}

impl Round {
    async fn run(mut self) {
        let mut hints = self.post.bucket.watch(OUTBOX);
        loop {
            let wait = match self.look().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read");
                    SWEEP
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.nudges.notified() => {}
                () = hints.changed(wait) => {}
                Some(ended) = self.running.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => error.id(),
                    };
                    self.names.remove(&id);
                }
            }
        }
        // Attempts see the same token and give their entries back.
        while self.running.join_next().await.is_some() {}
    }

    /// Begins what is due; how long nothing else will be.
    async fn look(&mut self) -> Result<Duration, BucketError> {
        let now = Timestamp::now();
        let mut next = Timestamp::MAX;
        let mut seen = HashMap::new();
        let mut dead = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .post
                .bucket
                .list(OUTBOX, after.as_deref(), PAGE)
                .await?;
            for (name, generation, due) in self.dues(&page).await {
                match due {
                    Due::Attempt(at) if at <= now => self.begin(&name),
                    Due::Removal(at) if at <= now => self.post.remove(&name, generation).await?,
                    Due::Attempt(at) | Due::Removal(at) => next = next.min(at),
                    Due::Kept(since) => dead.push(Dead {
                        since,
                        name: name.clone(),
                        generation,
                    }),
                    Due::Never => {}
                }
                // At once: a look that fails on its way is not made anew from the beginning.
                self.seen.insert(name.clone(), (generation, due));
                seen.insert(name, (generation, due));
            }
            after = page.last().map(|last| last.name.clone());
            if page.len() < PAGE {
                break;
            }
        }
        self.seen = seen;
        next = next.min(self.post.remove_dead(dead, now).await?);
        Ok(Duration::try_from(next.duration_since(now))
            .unwrap_or_default()
            .min(SWEEP))
    }

    /// What is due for each of these entries; without those that cannot be read now.
    async fn dues(&self, page: &[bucket::Entry]) -> Vec<(String, Generation, Due)> {
        let due = async |listed: &bucket::Entry| {
            let known = self.seen.get(&listed.name);
            if let Some((generation, due)) = known.filter(|(seen, _)| *seen == listed.generation) {
                return Some((listed.name.clone(), *generation, *due));
            }
            let (generation, due) = match self.post.read(&listed.name).await {
                Ok(Some((entry, generation))) => (generation, entry.due(&self.post.settings.retry)),
                Ok(None) => (listed.generation, Due::Never),
                Err(error) => {
                    tracing::warn!(entry = listed.name, %error, "a report cannot be read now");
                    return None;
                }
            };
            Some((listed.name.clone(), generation, due))
        };
        let dues = futures::stream::iter(page).map(due).buffered(READS);
        dues.filter_map(std::future::ready).collect().await
    }

    /// Starts an attempt where a place is free; else the end of another one leads back here.
    fn begin(&mut self, name: &str) {
        let most = usize::try_from(self.post.settings.max_concurrent).unwrap_or(usize::MAX);
        if self.running.len() >= most || self.names.values().any(|running| running == name) {
            return;
        }
        let (post, stop, name) = (Arc::clone(&self.post), self.stop.clone(), name.to_owned());
        let handle = self.running.spawn({
            let name = name.clone();
            async move {
                if let Err(error) = post.carry(&name, &stop).await {
                    tracing::warn!(entry = name, %error, "the outbox cannot be written");
                    // Its end leads to the next look, which would find it due: not in haste.
                    let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
                }
            }
        });
        self.names.insert(handle.id(), name);
    }
}

/// What one attempt works with.
struct Post {
    bucket: Arc<dyn Bucket>,
    outbound: Outbound,
    signer: watch::Receiver<Signer>,
    settings: config::Webhook,
}

impl Post {
    /// Takes the entry, sends it, writes down how it ended.
    async fn carry(&self, name: &str, stop: &CancellationToken) -> Result<(), BucketError> {
        let Some((mut entry, generation)) = self.read(name).await? else {
            return Ok(());
        };
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
        self.write(name, &entry, generation).await?;
        Ok(())
    }

    /// The entry, if it is there and can be read.
    async fn read(&self, name: &str) -> Result<Option<(Entry, Generation)>, BucketError> {
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
        let data = serde_json::to_vec(entry).map_err(|error| BucketError::Io {
            name: name.to_owned(),
            source: error.into(),
        })?;
        match self
            .bucket
            .put(name, data.into(), When::Matches(from), Durability::Synced)
            .await
        {
            Ok(generation) => Ok(Some(generation)),
            Err(BucketError::Conflict(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes room among the dead; when the next one's time is over. One that somebody has sent again
    /// meanwhile is another generation, and stays.
    async fn remove_dead(&self, dead: Vec<Dead>, now: Timestamp) -> Result<Timestamp, BucketError> {
        let (kept, most) = (self.settings.dead_kept, self.settings.max_dead);
        let (over, next) = dead::to_remove(dead, kept, most, now);
        for dead in over {
            self.remove(&dead.name, dead.generation).await?;
            tracing::warn!(
                entry = dead.name,
                since = %dead.since,
                "a report that could not be delivered is not kept any longer \
                 (webhook.dead_kept, webhook.max_dead)"
            );
        }
        Ok(next)
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

#[cfg(test)]
mod tests;
