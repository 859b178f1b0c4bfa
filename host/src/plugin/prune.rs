//! Old sets and components go from the bucket, where nobody can want them any more.
//!
//! What becomes active is *renewed* first: written again where it is not fresh (see [`Loader::keep_set`]). So
//! an object's age says when it was last of use, whoever prunes sees that a set was just taken up again by
//! its generation, and neither locks nor marks are needed: of two that prune, of one that prunes and one
//! that activates, the one whose generation is gone does nothing.
//!
//! Sets go before their components, so a crash in between leaves components that the next run removes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::PluginError;
use super::artifact_memory::{self, ARTIFACTS};
use super::history::{History, SetChange};
use super::load::{COMPONENTS, Pins, SETS};
use crate::bucket::{Bucket, BucketError, Entry, When};
use crate::task::Tasks;

/// Between two runs, and from the start to the first.
const EVERY: Duration = Duration::from_secs(24 * 3600);
const AT_FIRST: Duration = Duration::from_secs(600);

/// Objects that one run removes of each kind; the next one goes on.
const MOST: usize = 1000;

/// Names of one listing.
const PAGE: usize = 1000;

/// Removes sets and components that were of no use for longer than `kept`: every day, and more often where
/// they are kept for less.
pub async fn keep_removing_old_sets(tasks: Tasks, kept: Duration) {
    tokio::time::sleep(AT_FIRST.min(kept)).await;
    let mut days = tokio::time::interval(EVERY.min(kept));
    loop {
        days.tick().await;
        match remove_old_sets(&tasks, kept, Timestamp::now()).await {
            Ok(Removed {
                sets: 0,
                objects: 0,
            }) => {}
            Ok(Removed { sets, objects }) => {
                tracing::info!(
                    sets,
                    objects,
                    "removed plugin sets and objects of components"
                );
            }
            Err(error) => tracing::warn!(%error, "old plugin sets cannot be removed"),
        }
    }
}

/// What one run removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Removed {
    sets: usize,
    /// Components, what stands beside them, and what is known of their artifacts.
    objects: usize,
}

async fn remove_old_sets(
    tasks: &Tasks,
    kept: Duration,
    now: Timestamp,
) -> Result<Removed, PluginError> {
    let bucket = tasks.bucket();
    let kept = SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
    let Ok(until) = now.checked_sub(kept) else {
        return Ok(Removed::default());
    };
    // The listings come before what is wanted: what is wanted by then is not in them as old.
    let sets = everything(bucket, SETS).await?;
    let components = everything(bucket, COMPONENTS).await?;
    let wanted = wanted(bucket, tasks).await?;

    let mut removed = Removed::default();
    let mut used = BTreeSet::new();
    for set in sets {
        let revision = set.name.strip_prefix(SETS);
        let revision = revision.and_then(|name| name.strip_suffix(".json"));
        let is_wanted = revision.is_none_or(|revision| wanted.contains(revision));
        if !is_wanted && is_old(&set, until) && removed.sets < MOST {
            removed.sets += usize::from(remove(bucket, &set).await?);
        } else if let Some(set) = bucket.get(&set.name).await? {
            let pins: Pins = serde_json::from_slice(&set.data).map_err(|error| {
                // What it consists of is not known, so nothing that it may need goes.
                PluginError::Manifest(format!("a plugin set cannot be read: {error}"))
            })?;
            used.extend(pins.plugins.into_iter().map(|plugin| plugin.digest));
        }
    }
    // What stands beside a component goes with it, and not before it.
    let mut unused = BTreeMap::<String, Vec<Entry>>::new();
    for entry in components {
        let name = entry.name.strip_prefix(COMPONENTS).unwrap_or_default();
        let digest = name.split_once('.').map_or(name, |(digest, _)| digest);
        if !used.contains(digest) {
            unused.entry(digest.to_owned()).or_default().push(entry);
        }
    }
    for entries in unused.into_values() {
        if removed.objects < MOST && entries.iter().all(|entry| is_old(entry, until)) {
            let is_component = |entry: &Entry| entry.name.ends_with(".wasm");
            let (component, beside): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_component);
            let mut is_gone = true;
            for entry in component {
                is_gone = remove(bucket, &entry).await?;
                removed.objects += usize::from(is_gone);
            }
            for entry in beside.iter().filter(|_| is_gone) {
                removed.objects += usize::from(remove(bucket, entry).await?);
            }
        }
    }
    // What is known of an artifact is of no use without its component.
    for entry in everything(bucket, ARTIFACTS).await? {
        if removed.objects < MOST && is_old(&entry, until) {
            let component = artifact_memory::component_of(&**bucket, &entry.name).await;
            if component.is_some_and(|digest| !used.contains(&digest)) {
                removed.objects += usize::from(remove(bucket, &entry).await?);
            }
        }
    }
    Ok(removed)
}

/// The revisions that somebody may ask for: of the changes that can be gone back to, with what was tried,
/// and of tasks that are not over.
async fn wanted(bucket: &Arc<dyn Bucket>, tasks: &Tasks) -> Result<BTreeSet<String>, PluginError> {
    let mut wanted = BTreeSet::new();
    let history = History::new(Arc::clone(bucket));
    // An earlier version did not number what it made active, which no list of changes shows.
    let standing = history.standing().await?;
    let standing = standing.map(|standing| standing.change);
    let changes = history.changes(None, usize::MAX).await?;
    for SetChange {
        revision,
        from,
        trial,
        ..
    } in changes.into_iter().chain(standing)
    {
        wanted.insert(revision);
        wanted.extend(from);
        wanted.extend(trial.map(|trial| trial.revision));
    }
    let unfinished = tasks.unfinished().await.map_err(|error| {
        PluginError::Manifest(format!("tasks that are not over cannot be found: {error}"))
    })?;
    if !unfinished.damaged.is_empty() {
        let message = "the record of a task that is not over cannot be read";
        return Err(PluginError::Manifest(message.to_owned()));
    }
    for record in unfinished.records {
        wanted.insert(record.plugin_set);
        wanted.extend(record.shadow_set);
    }
    Ok(wanted)
}

fn is_old(entry: &Entry, until: Timestamp) -> bool {
    let written = entry.generation.written_at();
    written.is_some_and(|written| written < until)
}

/// Removes what was listed, unless it was renewed since; whether it did.
async fn remove(bucket: &Arc<dyn Bucket>, entry: &Entry) -> Result<bool, BucketError> {
    match bucket
        .delete(&entry.name, When::Matches(entry.generation))
        .await
    {
        Err(BucketError::Conflict(_)) => Ok(false),
        done => done.map(|()| true),
    }
}

async fn everything(bucket: &Arc<dyn Bucket>, prefix: &str) -> Result<Vec<Entry>, BucketError> {
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let after = all.last().map(|entry| entry.name.clone());
        let page = bucket.list(prefix, after.as_deref(), PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;
    use crate::bucket::Durability;
    use crate::bucket::directory::DirectoryBucket;
    use crate::plugin::memory_bucket::MemoryBucket;

    const KEPT: Duration = Duration::from_secs(3600);

    struct Old {
        _directory: tempfile::TempDir,
        tasks: Tasks,
    }

    impl Old {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let bucket = DirectoryBucket::open(directory.path().to_owned()).unwrap();
            Self {
                _directory: directory,
                tasks: Tasks::new(Arc::new(bucket)),
            }
        }

        async fn put(&self, name: &str, text: &str) {
            let data = Bytes::from(text.to_owned());
            let bucket = self.tasks.bucket();
            let put = bucket.put(name, data, When::Always, Durability::Buffered);
            put.await.unwrap();
        }

        async fn names(&self) -> Vec<String> {
            let entries = everything(self.tasks.bucket(), "plugins/").await.unwrap();
            entries.into_iter().map(|entry| entry.name).collect()
        }

        /// Sees every object as older than what is kept, but for those of `names`.
        async fn run(&self) -> Result<Removed, PluginError> {
            let later = Timestamp::now() + SignedDuration::from_hours(2);
            remove_old_sets(&self.tasks, KEPT, later).await
        }
    }

    fn set(digest: &str) -> String {
        format!(
            r#"{{"plugins":[{{"name":"a","world":"validator","digest":"{digest}","settings":{{}},
            "grants":[],"mode":"enforce","onError":"deny","limits":{{"memory":1,"timeMs":1,"output":1}}}}]}}"#
        )
    }

    #[tokio::test]
    async fn what_was_active_or_tried_stays_and_the_rest_goes_with_what_stands_beside_it() {
        let old = Old::new();
        for (name, digest) in [
            ("active", "a"),
            ("before", "b"),
            ("tried", "c"),
            ("unused", "d"),
        ] {
            old.put(&format!("plugins/sets/{name}.json"), &set(digest))
                .await;
            old.put(&format!("plugins/components/{digest}.wasm"), "code")
                .await;
        }
        old.put("plugins/components/d.sig", "signature").await;
        for (name, digest) in [("1", "a"), ("2", "d")] {
            let about = r#"{"name":"a","version":"1","world":"validator","contract":"gatehouse:plugin@0.1.0"}"#;
            let artifact = format!(r#"{{"component":"{digest}","about":{about},"signatures":[]}}"#);
            old.put(&format!("plugins/artifacts/{name}.json"), &artifact)
                .await;
        }
        old.put("plugins/artifacts/tags.json", r#"{"tags":[]}"#)
            .await;
        let active = r#"{"number":2,"revision":"active","from":"before","at":"2026-01-01T00:00:00Z",
            "trial":{"revision":"tried","share":10,"shadow":false,"digests":{}}}"#;
        old.put("plugins/active.json", active).await;

        let nothing = remove_old_sets(&old.tasks, KEPT, Timestamp::now()).await;
        assert_eq!(nothing.unwrap(), Removed::default(), "all is young");
        let removed = old.run().await.unwrap();
        assert_eq!(
            removed,
            Removed {
                sets: 1,
                objects: 3
            }
        );
        let left = [
            "plugins/active.json",
            "plugins/artifacts/1.json",
            "plugins/artifacts/tags.json",
            "plugins/components/a.wasm",
            "plugins/components/b.wasm",
            "plugins/components/c.wasm",
            "plugins/sets/active.json",
            "plugins/sets/before.json",
            "plugins/sets/tried.json",
        ];
        assert_eq!(old.names().await, left);
    }

    #[tokio::test]
    async fn two_that_remove_at_once_do_not_trip_over_each_other() {
        let old = Old::new();
        for n in 0..100 {
            let digest = format!("{n:064}");
            old.put(&format!("plugins/sets/{n}.json"), &set(&digest))
                .await;
            old.put(&format!("plugins/components/{digest}.wasm"), "code")
                .await;
        }
        let (one, other) = tokio::join!(old.run(), old.run());
        let (one, other) = (one.unwrap(), other.unwrap());
        // Both may count the same one: that it was there is not told.
        assert!(one.sets + other.sets >= 100 && one.objects + other.objects >= 100);
        assert!(old.names().await.is_empty());
    }

    #[tokio::test]
    async fn what_was_renewed_since_it_was_listed_stays() {
        let old = Old::new();
        old.put("plugins/sets/a.json", "{}").await;
        let listed = everything(old.tasks.bucket(), SETS).await.unwrap();
        old.put("plugins/sets/a.json", "{}").await;
        for entry in listed {
            assert!(!remove(old.tasks.bucket(), &entry).await.unwrap());
        }
        assert_eq!(old.names().await, ["plugins/sets/a.json"]);
    }

    #[tokio::test]
    async fn while_something_cannot_be_read_nothing_goes_that_it_may_need() {
        let old = Old::new();
        old.put("plugins/components/a.wasm", "code").await;
        old.put("plugins/sets/kept.json", "damaged").await;
        old.put(
            "plugins/active.json",
            r#"{"revision":"kept","at":"2026-01-01T00:00:00Z"}"#,
        )
        .await;
        assert!(old.run().await.is_err());
        assert_eq!(old.names().await.len(), 3);
        let failing = Tasks::new(Arc::new(MemoryBucket::failing()));
        let now = Timestamp::now();
        assert!(remove_old_sets(&failing, KEPT, now).await.is_err());
    }

    #[tokio::test]
    async fn one_run_removes_a_bounded_number() {
        let old = Old::new();
        for n in 0..MOST + 5 {
            old.put(&format!("plugins/sets/{n}.json"), r#"{"plugins":[]}"#)
                .await;
        }
        assert_eq!(old.run().await.unwrap().sets, MOST);
        assert_eq!(old.run().await.unwrap().sets, 5);
    }
}
