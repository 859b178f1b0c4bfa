//! The gateway's plugins: the sets that new tasks are pinned to, and how they change while tasks run.
//!
//! A new set is made aside and whole: loaded, tried out, kept in the bucket. Then the change is recorded by
//! compare-and-set, and only then one pointer is swapped. Whoever was admitted before keeps the set that
//! it was admitted under, its job too. What goes wrong on the way leaves everything as it was.
//!
//! Here is what the manifest and other gateways lead to; what operators say is in `operate`.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::attempt::{Attempt, Candidate};
use super::change::{Asked, ChangeError, Changed};
use super::history::{History, How, SetChange, Standing};
use super::load::{Loader, Pins};
use super::loaded::LoadedPlugin;
use super::trial::{Active, Extent, Trial, TrialChange};
use super::{PluginError, PluginSet};
use crate::bucket::{Bucket, BucketError};
use crate::config::{self, Config};
use crate::wasm::Compiler;

/// Times that a set is made again because somebody else's change came first.
const TRIES: usize = 3;

/// The active sets, and what became of the last attempt to load the manifest.
#[derive(Debug)]
pub struct Plugins {
    pub(super) settings: config::Plugins,
    outbound: config::Outbound,
    /// Or why no plugin can be run at all.
    loader: Result<Loader, String>,
    pub(super) history: History,
    active: RwLock<Option<Arc<Active>>>,
    attempt: RwLock<Attempt>,
    /// One change at a time; readers never wait for it.
    pub(super) changing: tokio::sync::Mutex<()>,
}

/// What shall be active.
pub(super) struct Wanted {
    pub(super) active: Active,
    pub(super) how: How,
    /// See [`SetChange::manifest`].
    pub(super) manifest: Option<String>,
}

impl Plugins {
    /// Loads the manifest's set and makes it active, unless an operator chose another one since the
    /// manifest was last taken. A manifest that cannot be used leaves the last good set active; without
    /// one nothing is admitted. [`Plugins::status`] tells.
    pub async fn load(config: &Config, compiler: Compiler, bucket: Arc<dyn Bucket>) -> Self {
        let (settings, outbound) = (&config.plugins, &config.outbound);
        Self::load_from(settings, outbound, &config.data_dir, compiler, bucket).await
    }

    pub(super) async fn load_from(
        settings: &config::Plugins,
        outbound: &config::Outbound,
        data_dir: &Path,
        compiler: Compiler,
        bucket: Arc<dyn Bucket>,
    ) -> Self {
        let plugins = Self {
            settings: settings.clone(),
            outbound: outbound.clone(),
            loader: Loader::new(settings, data_dir, compiler, Arc::clone(&bucket))
                .map(|loader| {
                    loader
                        .fetching(settings, outbound)
                        .requiring(&settings.signatures)
                })
                .map_err(|error| error.to_string()),
            history: History::new(bucket),
            active: RwLock::default(),
            attempt: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
        };
        let asked = Asked {
            by: "start",
            seen: None,
        };
        if let Err(error) = plugins.take_manifest(&asked).await {
            match plugins.active() {
                Some(active) => tracing::error!(
                    %error,
                    revision = active.set.revision(),
                    "the manifest's plugins cannot be used: the set from before is active"
                ),
                None => {
                    tracing::error!(%error, "no plugin set is active: no task is admitted");
                }
            }
        }
        plugins
    }

    /// What new tasks are pinned to.
    pub fn active(&self) -> Option<Arc<Active>> {
        self.active
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The error that kept the manifest's set from becoming active.
    pub fn last_error(&self) -> Option<String> {
        self.attempt().error.clone()
    }

    /// The body of `GET /plugins`, see `docs/reference/plugins.md`.
    pub fn status(&self) -> Value {
        let active = self.active();
        let set = active.as_ref().map(|active| active.set.as_ref());
        let mut status = self.attempt().status(set);
        if let Some(trial) = active.as_ref().and_then(|active| active.trial.as_ref()) {
            status.insert(
                "trial".to_owned(),
                json!({
                    "revision": trial.set.revision(),
                    "share": trial.extent.share,
                    "shadow": trial.extent.shadow,
                    "plugins": trial.set.plugin_lines("tried"),
                    "groups": trial.set.group_lines("tried"),
                }),
            );
        }
        Value::Object(status)
    }

    /// Files that the manifest was read from, to be looked at for changes.
    pub(super) fn files(&self) -> Vec<std::path::PathBuf> {
        self.attempt().files.clone()
    }

    /// Whether the manifest is worth another reading although nothing of it has changed.
    pub(super) fn is_worth_another(&self) -> bool {
        self.attempt().is_worth_another()
    }

    fn attempt(&self) -> std::sync::RwLockReadGuard<'_, Attempt> {
        self.attempt.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the manifest and makes its set active, or has it tried, as the manifest says. An operator's
    /// later choice stands for as long as the manifest gives what it gave before; [`Plugins::reload`]
    /// overrules it.
    pub async fn take_manifest(&self, asked: &Asked<'_>) -> Result<Changed, ChangeError> {
        self.activate_manifest(asked, false).await
    }

    /// The same at an operator's word: what the manifest says becomes active.
    pub async fn reload(&self, asked: &Asked<'_>) -> Result<Changed, ChangeError> {
        self.activate_manifest(asked, true).await
    }

    async fn activate_manifest(
        &self,
        asked: &Asked<'_>,
        overrule: bool,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.changing.lock().await;
        for _ in 0..TRIES {
            let standing = self.standing(asked).await?;
            let (set, extent) = match self.candidate().await {
                Ok(candidate) => candidate,
                Err(mistakes) => {
                    self.keep_last_good(standing.as_ref()).await;
                    return Err(ChangeError::Refused(mistakes));
                }
            };
            let mark = mark(&set, extent);
            let change = standing.as_ref().map(|standing| &standing.change);
            let taken_before = change.is_some_and(|change| change.manifest.as_ref() == Some(&mark));
            let stands = taken_before && !overrule;
            if stands && self.keep_last_good(standing.as_ref()).await {
                self.refresh(&set);
                return Ok(Changed::nothing(self.revision()));
            }
            let active = self.as_manifest_says(set, extent, change).await;
            let active = active.inspect_err(|error| self.note(error.to_string()))?;
            if taken_before && change.is_some_and(|change| active.is_of(change)) {
                self.activate(active);
                return Ok(Changed::nothing(self.revision()));
            }
            let wanted = Wanted {
                active,
                how: How::Manifest,
                manifest: Some(mark),
            };
            match self.publish(wanted, asked, standing.as_ref()).await {
                Err(ChangeError::Bucket(BucketError::Conflict(_))) => {}
                done => return done,
            }
        }
        Err(self.conflict().await)
    }

    /// The manifest's set, or what is active and the manifest's set as a trial.
    async fn as_manifest_says(
        &self,
        set: Arc<PluginSet>,
        extent: Option<Extent>,
        change: Option<&SetChange>,
    ) -> Result<Active, ChangeError> {
        let only = |set| Active { set, trial: None };
        let (Some(extent), Some(change)) = (extent, change) else {
            // Where nothing was active before, there is nothing to go on with meanwhile.
            return Ok(only(set));
        };
        if change.revision == set.revision() {
            return Ok(only(set));
        }
        match self.pinned(&change.revision).await {
            Ok(before) => Ok(Active {
                set: before,
                trial: Some(Trial::new(set, extent)),
            }),
            Err(ChangeError::NoSuchRevision(_)) => Ok(only(set)),
            Err(error) => Err(error),
        }
    }

    /// Changes from the newest that is below `before`.
    pub async fn changes(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SetChange>, BucketError> {
        self.history.changes(before, limit).await
    }

    /// Takes over what another gateway, or a command, made active.
    pub(super) async fn take_over(&self) -> Result<(), ChangeError> {
        let Some(standing) = self.history.standing().await? else {
            return Ok(());
        };
        if self.is_active(&standing.change) {
            return Ok(());
        }
        let _turn = self.changing.lock().await;
        let Some(standing) = self.history.standing().await? else {
            return Ok(());
        };
        if !self.is_active(&standing.change) {
            let active = self.of_change(&standing.change).await?;
            self.activate(active);
        }
        Ok(())
    }

    pub(super) fn loader(&self) -> Result<&Loader, ChangeError> {
        self.loader
            .as_ref()
            .map_err(|error| ChangeError::Refused(error.clone()))
    }

    /// The change that stands, where it is the one that the operator saw.
    pub(super) async fn standing(
        &self,
        asked: &Asked<'_>,
    ) -> Result<Option<Standing>, ChangeError> {
        let standing = self.history.standing().await?;
        let active = standing
            .as_ref()
            .map_or("", |standing| &standing.change.revision);
        match asked.seen {
            Some(seen) if seen != active => Err(ChangeError::Conflict {
                active: active.to_owned(),
            }),
            _ => Ok(standing),
        }
    }

    /// The same with what it makes active, taken over first where another gateway made it: a change of what
    /// is only here would undo what was changed there.
    pub(super) async fn as_it_stands(
        &self,
        asked: &Asked<'_>,
    ) -> Result<Option<(Standing, Arc<Active>)>, ChangeError> {
        let Some(standing) = self.standing(asked).await? else {
            return Ok(None);
        };
        if !self.is_active(&standing.change) {
            self.activate(self.of_change(&standing.change).await?);
        }
        Ok(self.active().map(|active| (standing, active)))
    }

    async fn conflict(&self) -> ChangeError {
        match self.history.standing().await {
            Ok(standing) => ChangeError::Conflict {
                active: standing.map_or_else(String::new, |standing| standing.change.revision),
            },
            Err(error) => error.into(),
        }
    }

    /// The manifest's set, made aside. What is loaded already is not loaded again.
    async fn candidate(&self) -> Result<(Arc<PluginSet>, Option<Extent>), String> {
        let loader = self.loader.as_ref().map_err(Clone::clone);
        let before = self.loaded();
        let Candidate {
            attempt,
            set,
            trial,
        } = match loader {
            Ok(loader) => {
                Candidate::of_manifest(loader, &self.settings, &self.outbound, &before).await
            }
            Err(error) => Candidate::failed(error),
        };
        *self.attempt.write().unwrap_or_else(PoisonError::into_inner) = attempt;
        set.map(|set| (Arc::new(set), trial))
    }

    /// Makes active what is recorded, where it is not; false where that cannot be done.
    async fn keep_last_good(&self, standing: Option<&Standing>) -> bool {
        let Some(Standing { change, .. }) = standing else {
            return self.active().is_some();
        };
        if self.is_active(change) {
            return true;
        }
        match self.of_change(change).await {
            Ok(active) => {
                self.activate(active);
                true
            }
            Err(error) => {
                let revision = &*change.revision;
                tracing::error!(%error, revision, "the last good plugin set cannot be loaded");
                self.note(format!(
                    "the set from before, `{revision}`, cannot be made active again: {error}"
                ));
                false
            }
        }
    }

    async fn of_change(&self, change: &SetChange) -> Result<Active, ChangeError> {
        let trial = match &change.trial {
            Some(trial) => {
                let set = self.pinned(&trial.revision).await?;
                Some(Trial::new(set, trial.extent()))
            }
            None => None,
        };
        Ok(Active {
            set: self.pinned(&change.revision).await?,
            trial,
        })
    }

    /// A set of the bucket, by its revision.
    pub(super) async fn pinned(&self, revision: &str) -> Result<Arc<PluginSet>, ChangeError> {
        self.of_pins(&self.pins(revision).await?).await
    }

    /// What a set of the bucket consists of.
    pub(super) async fn pins(&self, revision: &str) -> Result<Pins, ChangeError> {
        match self.loader()?.pins(revision).await {
            Ok(pins) => Ok(pins),
            Err(PluginError::Missing(_)) => Err(ChangeError::NoSuchRevision(format!(
                "there is no plugin set `{revision}`; `gatehouse plugin history` shows those that were active"
            ))),
            Err(PluginError::Bucket(error)) => Err(error.into()),
            Err(error) => Err(ChangeError::Refused(error.to_string())),
        }
    }

    pub(super) async fn of_pins(&self, pins: &Pins) -> Result<Arc<PluginSet>, ChangeError> {
        let refused = |error: PluginError| match error {
            PluginError::Bucket(error) => ChangeError::Bucket(error),
            error => ChangeError::Refused(error.to_string()),
        };
        let (_, revision) = pins
            .canonical()
            .map_err(|error| ChangeError::Refused(error.to_string()))?;
        let before = self.loaded();
        if let Some(same) = before.iter().find(|set| set.revision() == revision) {
            return Ok(Arc::clone(same));
        }
        PluginSet::of_pins(self.loader()?, &revision, pins, &before)
            .await
            .map(Arc::new)
            .map_err(refused)
    }

    /// As [`Plugins::publish`], with a conflict told to the operator.
    pub(super) async fn publish_once(
        &self,
        wanted: Wanted,
        asked: &Asked<'_>,
        standing: &Standing,
    ) -> Result<Changed, ChangeError> {
        match self.publish(wanted, asked, Some(standing)).await {
            Err(ChangeError::Bucket(BucketError::Conflict(_))) => Err(self.conflict().await),
            done => done,
        }
    }

    async fn publish(
        &self,
        wanted: Wanted,
        asked: &Asked<'_>,
        standing: Option<&Standing>,
    ) -> Result<Changed, ChangeError> {
        let Active { set, trial } = &wanted.active;
        let sets = [Some(set), trial.as_ref().map(|trial| &trial.set)];
        for set in sets.into_iter().flatten() {
            self.loader()?.keep_set(&set.pins()).await?;
        }
        if let Some(Standing { change: before, .. }) = standing {
            let tried = before.trial.as_ref().map(|trial| &trial.revision);
            for revision in [Some(&before.revision), tried].into_iter().flatten() {
                self.loader()?.renew_set(revision).await?;
            }
        }
        let change = SetChange {
            number: 0,
            at: Timestamp::now(),
            by: asked.by.to_owned(),
            how: wanted.how,
            from: None,
            revision: set.revision().to_owned(),
            manifest: wanted.manifest,
            digests: set.digests(),
            signed_by: set.signers(),
            trial: trial
                .as_ref()
                .map(|trial| TrialChange::new(&trial.set, trial.extent)),
        };
        let change = self.history.record(change, standing).await?;
        tracing::info!(
            revision = change.revision,
            from = change.from,
            tried = change.trial.as_ref().map(|trial| &*trial.revision),
            by = change.by,
            change = change.number,
            plugins = change.digests.len(),
            "plugins are active"
        );
        self.activate(wanted.active);
        Ok(Changed {
            revision: change.revision.clone(),
            change: Some(change),
        })
    }

    fn revision(&self) -> String {
        let active = self.active();
        active.map_or_else(String::new, |active| active.set.revision().to_owned())
    }

    fn is_active(&self, change: &SetChange) -> bool {
        self.active().is_some_and(|active| active.is_of(change))
    }

    /// Takes over what is new of the same set: who signed its components.
    fn refresh(&self, set: &Arc<PluginSet>) {
        if let Some(active) = self.active()
            && active.set.revision() == set.revision()
            && active.set.signers() != set.signers()
        {
            self.activate(Active {
                set: Arc::clone(set),
                trial: active.trial.clone(),
            });
        }
    }

    /// Shows operators what is wrong beside the manifest.
    fn note(&self, error: String) {
        let mut attempt = self.attempt.write().unwrap_or_else(PoisonError::into_inner);
        attempt.note(error);
    }

    pub(super) fn activate(&self, active: Active) {
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(active));
    }

    /// The sets that are loaded now, so that nothing of them is loaded twice.
    fn loaded(&self) -> Vec<Arc<PluginSet>> {
        let active = self.active();
        let sets = active.as_deref().map(Active::sets);
        sets.into_iter().flatten().cloned().collect()
    }
}

/// What the manifest gives, in one word.
fn mark(set: &PluginSet, extent: Option<Extent>) -> String {
    let revision = set.revision();
    match extent {
        None => revision.to_owned(),
        Some(Extent { share, shadow }) => {
            let beside = if shadow { "+shadow" } else { "" };
            format!("{revision}@{share}%{beside}")
        }
    }
}

/// The plugin of a set that would be loaded in the same way.
pub(super) fn same_of<'a>(
    before: &'a [Arc<PluginSet>],
    pin: &super::loaded::Pin,
) -> Option<&'a Arc<LoadedPlugin>> {
    before
        .iter()
        .filter_map(|set| set.plugin(&pin.name))
        .find(|plugin| plugin.pin == *pin)
}
