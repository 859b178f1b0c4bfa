//! The gateway's plugins: the set that new tasks are pinned to, and how it changes while tasks run.
//!
//! A new set is made aside and whole: loaded, tried, kept in the bucket. Then the change is recorded by
//! compare-and-set, and only then one pointer is swapped. Whoever was admitted before keeps the set that
//! it was admitted under, its job too. What goes wrong on the way leaves everything as it was.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use serde_json::Value;

use super::attempt::{Attempt, Candidate};
use super::change::{Asked, ChangeError, Changed};
use super::history::{History, How, SetChange, Standing};
use super::load::{Loader, Pins};
use super::loaded::LoadedPlugin;
use super::manifest::Enforcement;
use super::{PluginError, PluginSet};
use crate::bucket::{Bucket, BucketError};
use crate::config::{self, Config};
use crate::wasm::World;

/// Times that a set is made again because somebody else's change came first.
const TRIES: usize = 3;

/// The active set, and what became of the last attempt to load the manifest.
#[derive(Debug)]
pub struct Plugins {
    pub(super) settings: config::Plugins,
    outbound: config::Outbound,
    /// Or why no plugin can be run at all.
    loader: Result<Loader, String>,
    pub(super) history: History,
    active: RwLock<Option<Arc<PluginSet>>>,
    attempt: RwLock<Attempt>,
    /// One change at a time; readers never wait for it.
    changing: tokio::sync::Mutex<()>,
}

impl Plugins {
    /// Loads the manifest's set and makes it active, unless an operator chose another one since the
    /// manifest was last taken. A manifest that cannot be used leaves the last good set active; without
    /// one nothing is admitted. [`Plugins::status`] tells.
    pub async fn load(config: &Config, bucket: Arc<dyn Bucket>) -> Self {
        Self::load_from(&config.plugins, &config.outbound, &config.data_dir, bucket).await
    }

    pub(super) async fn load_from(
        settings: &config::Plugins,
        outbound: &config::Outbound,
        data_dir: &Path,
        bucket: Arc<dyn Bucket>,
    ) -> Self {
        let plugins = Self {
            settings: settings.clone(),
            outbound: outbound.clone(),
            loader: Loader::new(settings, data_dir, Arc::clone(&bucket))
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
                Some(set) => tracing::error!(
                    %error,
                    revision = set.revision(),
                    "the manifest's plugins cannot be used: the set from before is active"
                ),
                None => {
                    tracing::error!(%error, "no plugin set is active: no task is admitted");
                }
            }
        }
        plugins
    }

    /// The set that new tasks are pinned to.
    pub fn active(&self) -> Option<Arc<PluginSet>> {
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
        self.attempt().status(self.active().as_deref())
    }

    /// Files that the manifest was read from, to be looked at for changes.
    pub(super) fn files(&self) -> Vec<std::path::PathBuf> {
        self.attempt().files.clone()
    }

    fn attempt(&self) -> std::sync::RwLockReadGuard<'_, Attempt> {
        self.attempt.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the manifest and makes its set active. An operator's later choice stands for as long as
    /// the manifest gives what it gave before; [`Plugins::reload`] overrules it.
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
            let candidate = self.candidate().await;
            let set = match candidate {
                Ok(set) => set,
                Err(mistakes) => {
                    self.keep_last_good(standing.as_ref()).await;
                    return Err(ChangeError::Refused(mistakes));
                }
            };
            let revision = set.revision().to_owned();
            if let Some(Standing { change, .. }) = &standing {
                let taken_before = change.manifest.as_ref() == Some(&revision);
                if change.revision == revision && taken_before {
                    self.activate(set);
                    return Ok(Changed::nothing(revision));
                }
                if taken_before && !overrule && self.keep_last_good(standing.as_ref()).await {
                    return Ok(Changed::nothing(change.revision.clone()));
                }
            }
            let manifest = Some(revision);
            match self
                .publish(set, How::Manifest, asked, manifest, standing.as_ref())
                .await
            {
                Err(ChangeError::Bucket(BucketError::Conflict(_))) => {}
                done => return done,
            }
        }
        Err(self.conflict().await)
    }

    /// Goes back to `revision`, or to what was active before the last change.
    pub async fn roll_back(
        &self,
        revision: Option<&str>,
        asked: &Asked<'_>,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.changing.lock().await;
        let Some(standing) = self.standing(asked).await? else {
            return Err(ChangeError::NoSuchRevision(
                "no set was active before, so there is none to go back to".to_owned(),
            ));
        };
        let revision = match revision.or(standing.change.from.as_deref()) {
            Some(revision) => revision.to_owned(),
            None => {
                return Err(ChangeError::NoSuchRevision(
                    "the active set is the first one, so there is none to go back to".to_owned(),
                ));
            }
        };
        if revision == standing.change.revision && self.is_active(&revision) {
            return Ok(Changed::nothing(revision));
        }
        let set = self.pinned(&revision).await?;
        let manifest = standing.change.manifest.clone();
        self.publish_once(set, How::Rollback, asked, manifest, &standing)
            .await
    }

    /// Gives one plugin of the active set another mode, until the manifest says something new.
    pub async fn set_mode(
        &self,
        name: &str,
        mode: Enforcement,
        asked: &Asked<'_>,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.changing.lock().await;
        let standing = self.standing(asked).await?;
        let (Some(standing), Some(active)) = (standing, self.active()) else {
            return Err(ChangeError::Refused("no plugin set is active".to_owned()));
        };
        let mut pins = active.pins();
        let Some(pin) = pins.plugins.iter_mut().find(|pin| pin.name == name) else {
            let names = pins.plugins.iter().map(|pin| &*pin.name);
            return Err(ChangeError::NoSuchPlugin {
                name: name.to_owned(),
                known: names.collect::<Vec<_>>().join(", "),
            });
        };
        if pin.world == World::PostExecution && mode == Enforcement::Monitor {
            let error = super::manifest::no_monitor();
            return Err(ChangeError::Refused(error.message));
        }
        if pin.mode == mode {
            return Ok(Changed::nothing(active.revision().to_owned()));
        }
        pin.mode = mode;
        let set = self.of_pins(&pins).await?;
        let manifest = standing.change.manifest.clone();
        self.publish_once(set, How::Mode, asked, manifest, &standing)
            .await
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
        if self.is_active(&standing.change.revision) {
            return Ok(());
        }
        let _turn = self.changing.lock().await;
        let Some(standing) = self.history.standing().await? else {
            return Ok(());
        };
        if !self.is_active(&standing.change.revision) {
            let set = self.pinned(&standing.change.revision).await?;
            self.activate(set);
        }
        Ok(())
    }

    fn loader(&self) -> Result<&Loader, ChangeError> {
        self.loader
            .as_ref()
            .map_err(|error| ChangeError::Refused(error.clone()))
    }

    async fn standing(&self, asked: &Asked<'_>) -> Result<Option<Standing>, ChangeError> {
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

    async fn conflict(&self) -> ChangeError {
        match self.history.standing().await {
            Ok(standing) => ChangeError::Conflict {
                active: standing.map_or_else(String::new, |standing| standing.change.revision),
            },
            Err(error) => error.into(),
        }
    }

    /// The manifest's set, made aside. What is active already is not loaded again.
    async fn candidate(&self) -> Result<PluginSet, String> {
        let loader = self.loader.as_ref().map_err(Clone::clone);
        let before = self.active();
        let Candidate { attempt, set } = match loader {
            Ok(loader) => {
                let before = before.as_deref();
                Candidate::of_manifest(loader, &self.settings, &self.outbound, before).await
            }
            Err(error) => Candidate::failed(error),
        };
        *self.attempt.write().unwrap_or_else(PoisonError::into_inner) = attempt;
        set
    }

    /// Makes the recorded set active where none is, or another; false where that cannot be done.
    async fn keep_last_good(&self, standing: Option<&Standing>) -> bool {
        let Some(Standing { change, .. }) = standing else {
            return self.active().is_some();
        };
        if self.is_active(&change.revision) {
            return true;
        }
        match self.pinned(&change.revision).await {
            Ok(set) => {
                self.activate(set);
                true
            }
            Err(error) => {
                tracing::error!(%error, revision = change.revision, "the last good plugin set cannot be loaded");
                false
            }
        }
    }

    async fn pinned(&self, revision: &str) -> Result<PluginSet, ChangeError> {
        let loader = self.loader()?;
        let pins = match loader.pins(revision).await {
            Ok(pins) => pins,
            Err(PluginError::Missing(_)) => {
                return Err(ChangeError::NoSuchRevision(format!(
                    "there is no plugin set `{revision}`; `gatehouse plugin history` shows those that were active"
                )));
            }
            Err(PluginError::Bucket(error)) => return Err(error.into()),
            Err(error) => return Err(ChangeError::Refused(error.to_string())),
        };
        self.of_pins(&pins).await
    }

    async fn of_pins(&self, pins: &Pins) -> Result<PluginSet, ChangeError> {
        let before = self.active();
        let refused = |error: PluginError| match error {
            PluginError::Bucket(error) => ChangeError::Bucket(error),
            error => ChangeError::Refused(error.to_string()),
        };
        let plugins = self
            .loader()?
            .load_pins(pins, before.as_deref())
            .await
            .map_err(refused)?;
        let (_, revision) = pins
            .canonical()
            .map_err(|error| ChangeError::Refused(error.to_string()))?;
        Ok(PluginSet::new(revision, plugins))
    }

    async fn publish_once(
        &self,
        set: PluginSet,
        how: How,
        asked: &Asked<'_>,
        manifest: Option<String>,
        standing: &Standing,
    ) -> Result<Changed, ChangeError> {
        let published = self
            .publish(set, how, asked, manifest, Some(standing))
            .await;
        match published {
            Err(ChangeError::Bucket(BucketError::Conflict(_))) => Err(self.conflict().await),
            done => done,
        }
    }

    async fn publish(
        &self,
        set: PluginSet,
        how: How,
        asked: &Asked<'_>,
        manifest: Option<String>,
        standing: Option<&Standing>,
    ) -> Result<Changed, ChangeError> {
        let pins = set.pins();
        self.loader()?.keep_set(&pins).await?;
        let digest = |plugin: &super::loaded::Pin| (plugin.name.clone(), plugin.digest.clone());
        let change = SetChange {
            number: 0,
            at: Timestamp::now(),
            by: asked.by.to_owned(),
            how,
            from: None,
            revision: set.revision().to_owned(),
            manifest,
            digests: pins.plugins.iter().map(digest).collect(),
        };
        let change = self.history.record(change, standing).await?;
        tracing::info!(
            revision = change.revision,
            from = change.from,
            by = change.by,
            change = change.number,
            plugins = pins.plugins.len(),
            "plugins are active"
        );
        self.activate(set);
        Ok(Changed {
            revision: change.revision.clone(),
            change: Some(change),
        })
    }

    fn is_active(&self, revision: &str) -> bool {
        self.active()
            .is_some_and(|active| active.revision() == revision)
    }

    fn activate(&self, set: PluginSet) {
        if !self.is_active(set.revision()) {
            *self.active.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
        }
    }
}

/// A plugin of a set that is active already and would be loaded in the same way.
pub(super) fn same_of<'a>(
    before: Option<&'a PluginSet>,
    pin: &super::loaded::Pin,
) -> Option<&'a Arc<LoadedPlugin>> {
    before?
        .plugin(&pin.name)
        .filter(|plugin| plugin.pin == *pin)
}
