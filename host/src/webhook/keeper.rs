//! Who looks after finished entries: removes those that were kept long enough, and has sent what an earlier
//! version left among them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::dead::{self, Dead};
use super::outbox::Due;
use super::places::{DUE, KEPT, send};
use super::{Entry, State};
use crate::bucket::{self, Bucket, BucketError, Generation, When};
use crate::config;

/// Names read at once.
const PAGE: usize = 1000;
/// Entries read at once.
const READS: usize = 16;

/// They are looked through this often, and whenever one was given up.
const SWEEP: Duration = Duration::from_secs(60 * 60);
/// At most this often.
const PAUSE: Duration = if cfg!(test) {
    Duration::from_millis(10)
} else {
    Duration::from_secs(60)
};

pub(super) struct Keeper {
    pub(super) bucket: Arc<dyn Bucket>,
    pub(super) settings: config::Webhook,
    /// An entry is dead.
    pub(super) given_up: Arc<Notify>,
    /// To the courier.
    pub(super) nudges: Arc<Notify>,
    pub(super) stop: CancellationToken,
    /// What is due for which content, so that an entry is read once.
    pub(super) seen: HashMap<String, (Generation, Due)>,
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        let work = async {
            loop {
                let wait = match self.look().await {
                    Ok(wait) => wait,
                    Err(error) => {
                        tracing::warn!(%error, "kept reports cannot be looked through");
                        Duration::ZERO
                    }
                };
                tokio::time::sleep(PAUSE).await;
                // Whichever is first.
                let _ = tokio::time::timeout(wait, self.given_up.notified()).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// How long nothing will have to be removed.
    async fn look(&mut self) -> Result<Duration, BucketError> {
        let now = Timestamp::now();
        let mut next = Timestamp::MAX;
        let mut seen = HashMap::new();
        let mut dead = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.bucket.list(KEPT, after.as_deref(), PAGE).await?;
            for (name, generation, due) in self.dues(&page).await {
                match due {
                    Due::Removal(at) if at <= now => self.remove(&name, generation).await?,
                    Due::Removal(at) => next = next.min(at),
                    Due::Kept(since) => dead.push(Dead {
                        since,
                        name: name.clone(),
                        generation,
                    }),
                    Due::Attempt(_) | Due::Never => {}
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
        let next = next.min(self.remove_dead(dead, now).await?);
        let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        Ok(wait.min(SWEEP))
    }

    /// What is due for each of the kept entries; without those that cannot be read now.
    async fn dues(&self, page: &[bucket::Entry]) -> Vec<(String, Generation, Due)> {
        let due = async |listed: &bucket::Entry| {
            if listed.name.starts_with(DUE) {
                return None;
            }
            let known = self.seen.get(&listed.name);
            if let Some((generation, due)) = known.filter(|(seen, _)| *seen == listed.generation) {
                return Some((listed.name.clone(), *generation, *due));
            }
            match self.read(&listed.name).await {
                Ok(due) => Some((listed.name.clone(), listed.generation, due)),
                Err(error) => {
                    tracing::warn!(entry = listed.name, %error, "a report cannot be read now");
                    None
                }
            }
        };
        let dues = futures::stream::iter(page).map(due).buffered(READS);
        dues.filter_map(std::future::ready).collect().await
    }

    async fn read(&self, name: &str) -> Result<Due, BucketError> {
        let Some(object) = self.bucket.get(name).await? else {
            return Ok(Due::Never);
        };
        let entry: Entry = match serde_json::from_slice(&object.data) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(entry = name, %error, "an entry of the outbox is damaged and left alone");
                return Ok(Due::Never);
            }
        };
        if entry.state == State::Pending {
            send(self.bucket.as_ref(), name, object.data).await?;
            self.nudges.notify_one();
        }
        Ok(entry.due(&self.settings.retry))
    }

    /// Makes room among the dead; when the next one's time is over. One that was finished anew meanwhile is another
    /// generation, and stays.
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
