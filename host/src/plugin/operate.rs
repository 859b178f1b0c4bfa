//! What operators say about the active sets beside the manifest: go back, another mode, try a set, make the
//! tried one active. Each stands until the manifest says something new.

use super::change::{Asked, ChangeError, Changed};
use super::history::How;
use super::live::{Plugins, Wanted};
use super::load::Pins;
use super::modes::{Enforcement, ModeFor, Modes};
use super::trial::{Active, Extent, Trial};
use crate::wasm::World;

/// What a plugin's mode is to be.
#[derive(Clone, Debug)]
pub enum NewMode {
    /// For every task, whatever was said for some.
    All(Enforcement),
    /// For some tasks, before everything that was said for some.
    Some(ModeFor),
}

impl Plugins {
    /// Goes back to `revision`. Without one: ends the trial where there is one, else goes back to what was
    /// active before.
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
        let change = &standing.change;
        let revision = match (revision, &change.trial, &change.from) {
            (Some(revision), _, _) => revision,
            (None, Some(_), _) => &change.revision,
            (None, None, Some(before)) => before,
            (None, None, None) => {
                return Err(ChangeError::NoSuchRevision(
                    "the active set is the first one, so there is none to go back to".to_owned(),
                ));
            }
        };
        let active = Active {
            set: self.pinned(revision).await?,
            trial: None,
        };
        if active.is_of(change) {
            let revision = revision.to_owned();
            // It may be another gateway that went there.
            self.activate(active);
            return Ok(Changed::nothing(revision));
        }
        let wanted = Wanted {
            active,
            how: How::Rollback,
            manifest: change.manifest.clone(),
        };
        self.publish_once(wanted, asked, &standing).await
    }

    /// Gives one plugin or group another mode, in the tried set too, where that has it.
    pub async fn set_mode(
        &self,
        name: &str,
        mode: &NewMode,
        asked: &Asked<'_>,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.changing.lock().await;
        let Some((standing, active)) = self.as_it_stands(asked).await? else {
            return Err(ChangeError::Refused("no plugin set is active".to_owned()));
        };
        let mut pins = active.set.pins();
        if !mode.give(&mut pins, name)? {
            let plugins = pins.plugins.iter().map(|pin| &*pin.name);
            let names = plugins.chain(pins.groups.iter().map(|pin| &*pin.name));
            return Err(ChangeError::NoSuchPlugin {
                name: name.to_owned(),
                known: names.collect::<Vec<_>>().join(", "),
            });
        }
        let trial = match &active.trial {
            Some(trial) => {
                let mut pins = trial.set.pins();
                mode.give(&mut pins, name)?;
                let set = self.of_pins(&pins).await?;
                Some(Trial::new(set, trial.extent))
            }
            None => None,
        };
        let set = self.of_pins(&pins).await?;
        let changed = Active { set, trial };
        if self.is_as(&changed) {
            return Ok(Changed::nothing(changed.set.revision().to_owned()));
        }
        let wanted = Wanted {
            active: changed,
            how: How::Mode,
            manifest: standing.change.manifest.clone(),
        };
        self.publish_once(wanted, asked, &standing).await
    }

    /// Has a set tried, or the one that is being tried more or less.
    pub async fn try_out(
        &self,
        revision: Option<&str>,
        extent: Extent,
        asked: &Asked<'_>,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.changing.lock().await;
        let Some((standing, active)) = self.as_it_stands(asked).await? else {
            return Err(ChangeError::Refused("no plugin set is active".to_owned()));
        };
        let tried = active.trial.as_ref().map(|trial| trial.set.revision());
        let Some(revision) = revision.or(tried) else {
            return Err(ChangeError::NoSuchRevision(
                "no set is being tried: name the revision".to_owned(),
            ));
        };
        if revision == active.set.revision() {
            return Err(ChangeError::Refused(format!(
                "`{revision}` is the active set: there is nothing to try"
            )));
        }
        let changed = Active {
            set: active.set.clone(),
            trial: Some(Trial::new(self.pinned(revision).await?, extent)),
        };
        if self.is_as(&changed) {
            return Ok(Changed::nothing(changed.set.revision().to_owned()));
        }
        let wanted = Wanted {
            active: changed,
            how: How::Trial,
            manifest: standing.change.manifest.clone(),
        };
        self.publish_once(wanted, asked, &standing).await
    }

    /// Makes the tried set the active one.
    pub async fn promote(&self, asked: &Asked<'_>) -> Result<Changed, ChangeError> {
        let _turn = self.changing.lock().await;
        let stands = self.as_it_stands(asked).await?;
        let tried = stands.and_then(|(standing, active)| Some((standing, active.trial.clone()?)));
        let Some((standing, trial)) = tried else {
            return Err(ChangeError::NoSuchRevision(
                "no set is being tried, so there is none to promote".to_owned(),
            ));
        };
        let wanted = Wanted {
            active: Active {
                set: trial.set,
                trial: None,
            },
            how: How::Promotion,
            manifest: standing.change.manifest.clone(),
        };
        self.publish_once(wanted, asked, &standing).await
    }

    fn is_as(&self, wanted: &Active) -> bool {
        self.active().is_some_and(|active| active.is_as(wanted))
    }
}

impl NewMode {
    /// False where there is no such plugin or group. That a member of a group keeps its mode is checked with the
    /// whole set.
    fn give(&self, pins: &mut Pins, name: &str) -> Result<bool, ChangeError> {
        let plugin = pins.plugins.iter_mut().find(|pin| pin.name == name);
        let group = pins.groups.iter_mut().find(|pin| pin.name == name);
        let (old, old_modes, action) = match (plugin, group) {
            (Some(pin), _) => {
                let action = pin.world == World::PostExecution;
                (&mut pin.mode, &mut pin.modes, action)
            }
            (None, Some(pin)) => (&mut pin.mode, &mut pin.modes, false),
            (None, None) => return Ok(false),
        };
        match self {
            Self::All(Enforcement::Monitor) if action => {
                let error = super::manifest::no_monitor();
                return Err(ChangeError::Refused(error.message));
            }
            Self::Some(_) if action => {
                let error = super::manifest::no_modes();
                return Err(ChangeError::Refused(error.message));
            }
            Self::All(mode) => {
                *old = *mode;
                old_modes.clear();
            }
            Self::Some(exception) => {
                let same = |other: &ModeFor| {
                    let other = ModeFor {
                        mode: exception.mode,
                        ..other.clone()
                    };
                    other == *exception
                };
                old_modes.retain(|other| !same(other));
                old_modes.insert(0, exception.clone());
                Modes::read(old_modes).map_err(ChangeError::Refused)?;
            }
        }
        Ok(true)
    }
}
