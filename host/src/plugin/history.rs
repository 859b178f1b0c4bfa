//! Which revision is active, and every change that led there.
//!
//! `plugins/active.json` is the last [`SetChange`], replaced only by compare-and-set; before it is, it is
//! copied to `plugins/changes/{number}.json`. So a crash loses no change and invents none, two
//! operators cannot both win, and whoever wants to look back knows each name without a listing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::trial::TrialChange;
use crate::bucket::{Bucket, BucketError, Durability, Generation, When};

const ACTIVE: &str = "plugins/active.json";

/// Changes that can be looked at and gone back to.
const KEPT: u64 = 1000;

/// What made a revision active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The manifest or a component that it names was changed.
    #[default]
    Manifest,
    /// An operator went back to it.
    Rollback,
    /// An operator changed one plugin's mode.
    Mode,
    /// An operator has a set tried, or has it tried more or less.
    Trial,
    /// An operator made the tried set the active one.
    Promotion,
}

/// One change of the active set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetChange {
    /// Counts up from 1.
    #[serde(default)]
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who: `start`, `watch`, `signal`, or the name of an operator's key.
    #[serde(default)]
    pub by: String,
    /// By what.
    #[serde(default)]
    pub how: How,
    /// What was active before this revision.
    #[serde(default)]
    pub from: Option<String>,
    /// What is active since.
    pub revision: String,
    /// What the manifest gave when it was last taken: while it gives the same again, it has nothing new
    /// to say against an operator who chose another revision since.
    #[serde(default)]
    pub manifest: Option<String>,
    /// SHA-256 of each plugin's component.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
    /// Names of the keys that signed each plugin's component, at the time of the change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signed_by: BTreeMap<String, Vec<String>>,
    /// The set that is tried beside it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialChange>,
}

/// The change that stands, as it was read.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) change: SetChange,
    generation: Generation,
}

/// Reads and writes changes.
#[derive(Clone, Debug)]
pub(super) struct History {
    bucket: Arc<dyn Bucket>,
}

impl History {
    pub(super) fn new(bucket: Arc<dyn Bucket>) -> Self {
        Self { bucket }
    }

    /// The last change; none where no set was ever active.
    pub(super) async fn standing(&self) -> Result<Option<Standing>, BucketError> {
        let Some(object) = self.bucket.get(ACTIVE).await? else {
            return Ok(None);
        };
        let change = read(ACTIVE, &object.data)?;
        Ok(Some(Standing {
            change,
            generation: object.generation,
        }))
    }

    /// Makes `change` the last one, numbered, after the one that was `standing`.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] where another one stands meanwhile; nothing was changed then.
    pub(super) async fn record(
        &self,
        change: SetChange,
        standing: Option<&Standing>,
    ) -> Result<SetChange, BucketError> {
        let before = standing.map(|standing| &standing.change);
        let change = SetChange {
            number: before.map_or(0, |before| before.number) + 1,
            from: before.and_then(|before| {
                let same = before.revision == change.revision;
                let from = if same {
                    before.from.as_ref()
                } else {
                    Some(&before.revision)
                };
                from.cloned()
            }),
            ..change
        };
        if let Some(before) = before {
            self.archive(before).await?;
        }
        let when = standing.map_or(When::Absent, |standing| When::Matches(standing.generation));
        self.bucket
            .put(ACTIVE, text(ACTIVE, &change)?, when, Durability::Synced)
            .await?;
        if let Some(old) = change.number.checked_sub(KEPT + 1) {
            self.bucket.delete(&name(old), When::Always).await?;
        }
        Ok(change)
    }

    async fn archive(&self, change: &SetChange) -> Result<(), BucketError> {
        let name = name(change.number);
        let put = self
            .bucket
            .put(
                &name,
                text(&name, change)?,
                When::Absent,
                Durability::Synced,
            )
            .await;
        match put {
            // Somebody archived the same one and then lost, or is about to win.
            Ok(_) | Err(BucketError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes from the newest that is below `before`, at most `limit` of them.
    pub(super) async fn changes(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SetChange>, BucketError> {
        let Some(Standing { change: last, .. }) = self.standing().await? else {
            return Ok(Vec::new());
        };
        let mut number = before.unwrap_or(u64::MAX).min(last.number + 1);
        let mut changes = Vec::new();
        while changes.len() < limit && number > 1 {
            number -= 1;
            if number == last.number {
                changes.push(last.clone());
                continue;
            }
            let name = name(number);
            match self.bucket.get(&name).await? {
                Some(object) => changes.push(read(&name, &object.data)?),
                None => break,
            }
        }
        Ok(changes)
    }
}

fn name(number: u64) -> String {
    format!("plugins/changes/{number:010}.json")
}

fn text(name: &str, change: &SetChange) -> Result<Bytes, BucketError> {
    let text = serde_json::to_vec(change).map_err(|error| damaged(name, error))?;
    Ok(Bytes::from(text))
}

fn read(name: &str, data: &[u8]) -> Result<SetChange, BucketError> {
    serde_json::from_slice(data).map_err(|error| damaged(name, error))
}

fn damaged(name: &str, error: serde_json::Error) -> BucketError {
    BucketError::Io {
        name: name.to_owned(),
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::plugin::memory_bucket::MemoryBucket;

    fn to(revision: &str) -> SetChange {
        SetChange {
            number: 0,
            at: Timestamp::UNIX_EPOCH,
            by: "test".into(),
            how: How::Manifest,
            from: None,
            revision: revision.into(),
            manifest: None,
            digests: BTreeMap::new(),
            signed_by: BTreeMap::new(),
            trial: None,
        }
    }

    fn history() -> History {
        History::new(Arc::new(MemoryBucket::default()))
    }

    async fn change(history: &History, revision: &str) -> SetChange {
        let standing = history.standing().await.unwrap();
        history
            .record(to(revision), standing.as_ref())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn changes_are_numbered_linked_and_told_from_the_newest() {
        let history = history();
        assert!(history.changes(None, 10).await.unwrap().is_empty());
        for revision in ["a", "b", "c"] {
            change(&history, revision).await;
        }
        let told = |changes: Vec<SetChange>| -> Vec<(u64, Option<String>, String)> {
            let line = |change: SetChange| (change.number, change.from, change.revision);
            changes.into_iter().map(line).collect()
        };
        let all = told(history.changes(None, 10).await.unwrap());
        let from = |revision: &str| Some(revision.to_owned());
        assert_eq!(
            all,
            [
                (3, from("b"), "c".into()),
                (2, from("a"), "b".into()),
                (1, None, "a".into())
            ]
        );
        assert_eq!(told(history.changes(Some(3), 1).await.unwrap()), all[1..2]);
    }

    #[tokio::test]
    async fn of_two_that_saw_the_same_one_wins() {
        let history = history();
        change(&history, "a").await;
        let seen = history.standing().await.unwrap();
        history.record(to("b"), seen.as_ref()).await.unwrap();
        let lost = history.record(to("c"), seen.as_ref()).await.unwrap_err();
        assert!(matches!(lost, BucketError::Conflict(_)));
        let changes = history.changes(None, 10).await.unwrap();
        let revisions: Vec<_> = changes.iter().map(|change| &*change.revision).collect();
        assert_eq!(revisions, ["b", "a"]);
    }

    #[tokio::test]
    async fn old_changes_go() {
        let history = history();
        for number in 0..=KEPT + 1 {
            change(&history, &number.to_string()).await;
        }
        let all = history.changes(None, usize::MAX).await.unwrap();
        assert_eq!(u64::try_from(all.len()).unwrap(), KEPT + 1);
        assert_eq!(all.last().unwrap().number, 2);
    }

    #[tokio::test]
    async fn what_an_earlier_version_wrote_is_understood() {
        let bucket = Arc::new(MemoryBucket::default());
        let old = br#"{"revision":"0123456789abcdef","at":"2026-01-01T00:00:00Z"}"#;
        bucket
            .put(
                ACTIVE,
                Bytes::from_static(old),
                When::Absent,
                Durability::Synced,
            )
            .await
            .unwrap();
        let history = History::new(bucket);
        assert_eq!(change(&history, "b").await.number, 1);
        assert_eq!(
            history.standing().await.unwrap().unwrap().change.from,
            Some("0123456789abcdef".to_owned())
        );
    }
}
