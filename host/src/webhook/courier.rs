//! Who carries the outbox's entries: any number of couriers may share a bucket.
//!
//! A courier takes an entry by compare-and-set with a lease, sends it and writes down how that ended
//! (`post.rs`). If it dies in between, another takes the entry when the lease is over: a report may arrive
//! twice, under the same `webhook-id`, but never not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Signer;
use super::keeper::Keeper;
use super::outbox::Due;
use super::places::DUE;
use super::post::Post;
use crate::bucket::{self, Bucket, BucketError, Generation};
use crate::config::{self, Config};
use crate::outbound::Outbound;

/// Names read at once.
const PAGE: usize = 1000;
/// Entries read at once.
const READS: usize = 16;

/// After a fault of the storage.
const PAUSE: Duration = Duration::from_secs(1);

/// What is due is looked through this often at least: hints may be missing.
const SWEEP: Duration = Duration::from_secs(30);

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
                let given_up = Arc::new(Notify::new());
                let keeper = Keeper {
                    bucket: Arc::clone(&bucket),
                    settings: settings.clone(),
                    given_up: Arc::clone(&given_up),
                    nudges: Arc::clone(&courier.nudges),
                    stop: courier.stop.clone(),
                    seen: HashMap::new(),
                };
                courier.work.spawn(keeper.run());
                let post = Arc::new(Post {
                    bucket,
                    outbound,
                    signer,
                    settings,
                    given_up,
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
        loop {
            // Anew for each look, and before it: a directory goes when nothing is due, and its watch with it.
            let mut hints = self.post.bucket.watch(DUE);
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
        let mut after: Option<String> = None;
        loop {
            let page = self.post.bucket.list(DUE, after.as_deref(), PAGE).await?;
            for (name, generation, due) in self.dues(&page).await {
                match due {
                    Due::Attempt(at) if at > now => next = next.min(at),
                    // Also what is finished and lies here still.
                    Due::Attempt(_) | Due::Removal(_) | Due::Kept(_) => self.begin(&name),
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

#[cfg(test)]
mod tests;
