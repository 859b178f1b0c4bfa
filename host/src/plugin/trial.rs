//! A set that is tried before it is active: a share of the tasks is pinned to it, or it is asked beside the
//! active one and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::PluginSet;
use super::history::SetChange;
use crate::task::TaskId;

/// How much a set is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// Of a hundred tasks so many are pinned to it, chosen by the hash of their ids.
    #[serde(default)]
    pub share: u8,
    /// Beside the tasks that are not, it is asked too, and what it says is recorded only.
    #[serde(default)]
    pub shadow: bool,
}

impl Extent {
    /// # Errors
    /// What was expected.
    pub fn check(self) -> Result<(), String> {
        if self.share > 99 {
            return Err(
                "share is a percentage from 0 to 99; for all tasks, make the set the active one"
                    .to_owned(),
            );
        }
        if self.share == 0 && !self.shadow {
            return Err(
                "say how a set is to be tried: by a share of the tasks, `share` from 1 to 99, or beside the \
                 active one, `shadow`"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn takes(self, id: &TaskId) -> bool {
        let hash = Sha256::digest(id.as_str());
        let first = hash.first_chunk::<8>().copied().unwrap_or_default();
        u64::from_be_bytes(first) % 100 < u64::from(self.share)
    }
}

/// A trial as it is kept in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialChange {
    /// Of the set that is tried.
    pub revision: String,
    /// Of a hundred tasks so many.
    #[serde(default)]
    pub share: u8,
    /// Beside the other ones.
    #[serde(default)]
    pub shadow: bool,
    /// SHA-256 of each plugin's component.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
    /// Names of the keys that signed each plugin's component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signed_by: BTreeMap<String, Vec<String>>,
}

impl TrialChange {
    pub(super) fn new(set: &PluginSet, extent: Extent) -> Self {
        Self {
            revision: set.revision().to_owned(),
            share: extent.share,
            shadow: extent.shadow,
            digests: set.digests(),
            signed_by: set.signers(),
        }
    }

    pub(super) fn extent(&self) -> Extent {
        Extent {
            share: self.share,
            shadow: self.shadow,
        }
    }
}

/// A loaded set that is tried.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) set: Arc<PluginSet>,
    pub(super) extent: Extent,
    /// The same set, whose word does not count.
    beside: Arc<PluginSet>,
}

impl Trial {
    pub(super) fn new(set: Arc<PluginSet>, extent: Extent) -> Self {
        Self {
            beside: Arc::new(set.as_shadow()),
            set,
            extent,
        }
    }
}

/// What is active at one moment.
#[derive(Clone, Debug)]
pub struct Active {
    pub(super) set: Arc<PluginSet>,
    pub(super) trial: Option<Trial>,
}

/// What one task is pinned to.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// What rules it.
    pub set: Arc<PluginSet>,
    /// What is asked beside it.
    pub shadow: Option<Arc<PluginSet>>,
}

impl Active {
    /// The same for one id whenever it is asked, as long as nothing else becomes active.
    pub fn pin(&self, id: &TaskId) -> Pinned {
        match &self.trial {
            Some(trial) if trial.extent.takes(id) => Pinned {
                set: Arc::clone(&trial.set),
                shadow: None,
            },
            trial => Pinned {
                set: Arc::clone(&self.set),
                shadow: trial
                    .as_ref()
                    .filter(|trial| trial.extent.shadow)
                    .map(|trial| Arc::clone(&trial.beside)),
            },
        }
    }

    /// Whether it is what the change led to.
    pub(super) fn is_of(&self, change: &SetChange) -> bool {
        let trial = self
            .trial
            .as_ref()
            .map(|trial| (trial.set.revision(), trial.extent));
        let recorded = change
            .trial
            .as_ref()
            .map(|trial| (&*trial.revision, trial.extent()));
        self.set.revision() == change.revision && trial == recorded
    }

    pub(super) fn is_as(&self, other: &Self) -> bool {
        let facts = |active: &Self| {
            let trial = active.trial.as_ref();
            let trial = trial.map(|trial| (trial.set.revision().to_owned(), trial.extent));
            (active.set.revision().to_owned(), trial)
        };
        facts(self) == facts(other)
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = &Arc<PluginSet>> {
        std::iter::once(&self.set).chain(self.trial.as_ref().map(|trial| &trial.set))
    }

    /// The set that tasks are pinned to which no trial takes.
    pub fn set(&self) -> &Arc<PluginSet> {
        &self.set
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(revision: &str) -> Arc<PluginSet> {
        Arc::new(PluginSet::new(revision.to_owned(), Vec::new(), Vec::new()))
    }

    fn active(share: u8, shadow: bool) -> Active {
        Active {
            set: set("old"),
            trial: Some(Trial::new(set("new"), Extent { share, shadow })),
        }
    }

    #[test]
    fn a_share_is_chosen_by_the_id_and_stays_with_it() {
        let active = active(10, false);
        let ids: Vec<TaskId> = (0..1000)
            .map(|n| format!("t-{n}").parse().unwrap())
            .collect();
        let taken = |id: &&TaskId| active.pin(id).set.revision() == "new";
        let first: Vec<_> = ids.iter().filter(taken).collect();
        assert!((60..140).contains(&first.len()), "{}", first.len());
        let second: Vec<_> = ids.iter().filter(taken).collect();
        assert_eq!(first, second);
        assert!(ids.iter().all(|id| active.pin(id).shadow.is_none()));
    }

    #[test]
    fn a_greater_share_takes_those_of_the_smaller_one_too() {
        for n in 0..1000 {
            let id: TaskId = format!("t-{n}").parse().unwrap();
            let takes = |share| {
                Extent {
                    share,
                    shadow: false,
                }
                .takes(&id)
            };
            assert!(!takes(10) || takes(50), "{id}");
        }
    }

    #[test]
    fn beside_the_active_set_is_every_task_that_the_trial_does_not_take() {
        let active = active(50, true);
        for n in 0..100 {
            let pinned = active.pin(&format!("t-{n}").parse().unwrap());
            assert_ne!(pinned.set.revision() == "new", pinned.shadow.is_some());
        }
    }

    #[test]
    fn an_extent_that_tries_nothing_or_everything_is_a_mistake() {
        let check = |share, shadow| Extent { share, shadow }.check();
        assert!(check(0, false).unwrap_err().contains("share"));
        assert!(check(100, true).unwrap_err().contains("99"));
        assert!(check(1, false).is_ok() && check(0, true).is_ok());
    }
}
