//! One reading of the manifest: a set where every plugin of it can be used, and what an operator is
//! shown of each either way.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::group::{Group, GroupPin};
use super::load::{Loader, Pins, Taken};
use super::loaded::failed_status;
use super::manifest::{self, Entry, Manifest};
use super::obtain::UNREACHABLE;
use super::trial::Extent;
use super::{PluginError, PluginSet};
use crate::config;
use crate::wasm::LoadError;

/// What became of loading the manifest.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    slots: Vec<Slot>,
    groups: Groups,
    /// Why its set is not active.
    pub(super) error: Option<String>,
    at: Option<Timestamp>,
    /// What was read, the manifest first.
    pub(super) files: Vec<PathBuf>,
}

impl Attempt {
    /// Whether a server was away: later it may be there.
    pub(super) fn is_worth_another(&self) -> bool {
        let away = |slot: &Slot| match slot {
            Slot::Loaded(Taken { away, .. }) => away.is_some(),
            Slot::Failed { code, .. } => *code == UNREACHABLE,
        };
        self.slots.iter().any(away)
    }
}

/// What the manifest says of each group, and what can be used of that.
type Groups = Vec<(GroupPin, Result<Arc<Group>, LoadError>)>;

/// One plugin of the manifest.
#[derive(Debug)]
enum Slot {
    Loaded(Taken),
    Failed {
        name: String,
        entry: Option<Box<Entry>>,
        code: &'static str,
        message: String,
    },
}

/// An attempt and its set.
pub(super) struct Candidate {
    pub(super) attempt: Attempt,
    pub(super) set: Result<PluginSet, String>,
    /// How the manifest wants it tried before it is active.
    pub(super) trial: Option<Extent>,
}

impl Candidate {
    /// Loads what the manifest names, aside. Plugins of `before` that would be the same are taken from
    /// there, with what was counted of them.
    pub(super) async fn of_manifest(
        loader: &Loader,
        settings: &config::Plugins,
        outbound: &config::Outbound,
        before: &[Arc<PluginSet>],
    ) -> Self {
        let mut files = vec![settings.manifest.clone()];
        let Manifest {
            trial,
            entries,
            groups,
        } = match manifest::read(&settings.manifest, settings, outbound) {
            Ok(manifest) => manifest,
            Err(error) => return Self::new(Vec::new(), Vec::new(), files, Err(error)),
        };
        let mut slots = Vec::new();
        for (name, entry) in entries {
            slots.push(match entry {
                Ok(entry) => {
                    files.extend(entry.source.files());
                    load_one(loader, entry, before).await
                }
                Err(error) => Slot::Failed {
                    name,
                    entry: None,
                    code: error.code,
                    message: error.message,
                },
            });
        }
        let as_before = |(pin, group): (_, Result<Arc<Group>, _>)| {
            (pin, group.map(|group| group.or_as_before(before)))
        };
        let groups: Groups = groups.into_iter().map(as_before).collect();
        let set = set_of(&slots, &groups);
        Self {
            trial,
            ..Self::new(slots, groups, files, set)
        }
    }

    /// Nothing can be loaded at all.
    pub(super) fn failed(error: String) -> Self {
        Self::new(Vec::new(), Vec::new(), Vec::new(), Err(error))
    }

    fn new(
        slots: Vec<Slot>,
        groups: Groups,
        files: Vec<PathBuf>,
        set: Result<PluginSet, String>,
    ) -> Self {
        let attempt = Attempt {
            slots,
            groups,
            error: set.as_ref().err().cloned(),
            at: Some(Timestamp::now()),
            files,
        };
        Self {
            attempt,
            set,
            trial: None,
        }
    }
}

async fn load_one(loader: &Loader, entry: Entry, before: &[Arc<PluginSet>]) -> Slot {
    match loader.load_file(&entry, before).await {
        Ok(taken) => Slot::Loaded(taken),
        Err(error) => {
            let (code, message) = match error {
                PluginError::Load { code, message, .. } => (code, message),
                other => ("plugin-storage", other.to_string()),
            };
            let name = entry.name.clone();
            Slot::Failed {
                name,
                entry: Some(Box::new(entry)),
                code,
                message,
            }
        }
    }
}

/// The set of the slots and groups, or what is wrong with each that failed.
fn set_of(slots: &[Slot], of_manifest: &Groups) -> Result<PluginSet, String> {
    let (mut plugins, mut groups) = (Vec::new(), Vec::new());
    let mut mistakes = Vec::new();
    for slot in slots {
        match slot {
            Slot::Loaded(taken) => plugins.push(taken.plugin.clone()),
            Slot::Failed { name, message, .. } => {
                mistakes.push(format!("plugin `{name}`: {message}"));
            }
        }
    }
    for (pin, group) in of_manifest {
        match group {
            Ok(group) => groups.push(group.clone()),
            Err(error) => mistakes.push(format!("group `{}`: {error}", pin.name)),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes.join("\n"));
    }
    let pins = Pins::of(&plugins, &groups);
    let (_, revision) = pins.canonical().map_err(|error| error.to_string())?;
    Ok(PluginSet::new(revision, plugins, groups))
}

impl Attempt {
    /// `{"revision", "error"?, "attemptedAt", "plugins": […], "groups": […]}`: each plugin of the active set, with the
    /// last error where the manifest asks for something else of it that cannot be had; then those of the
    /// manifest that are not in the set. The same of groups.
    pub(super) fn status(&self, active: Option<&PluginSet>) -> Map<String, Value> {
        let lines = active.map(|set| set.plugin_lines("active"));
        let mut lines = lines.unwrap_or_default();
        for slot in &self.slots {
            let name = slot.name();
            let line = lines
                .iter_mut()
                .find(|line| line.get("name").is_some_and(|known| known == name));
            match (line, slot) {
                (Some(line), slot) => slot.tell(line),
                (None, Slot::Loaded(taken)) => {
                    let mut line = taken.plugin.status("loaded");
                    slot.tell(&mut line);
                    lines.push(line);
                }
                (
                    None,
                    Slot::Failed {
                        name,
                        entry,
                        code,
                        message,
                    },
                ) => {
                    lines.push(failed_status(name, entry.as_deref(), code, message));
                }
            }
        }
        let mut status = Map::new();
        status.insert(
            "revision".to_owned(),
            json!(active.map(PluginSet::revision)),
        );
        status.insert("attemptedAt".to_owned(), json!(self.at));
        if let Some(error) = &self.error {
            status.insert("error".to_owned(), json!(error));
        }
        status.insert("plugins".to_owned(), json!(lines));
        status.insert("groups".to_owned(), json!(self.group_lines(active)));
        status
    }

    fn group_lines(&self, active: Option<&PluginSet>) -> Vec<Map<String, Value>> {
        let lines = active.map(|set| set.group_lines("active"));
        let mut lines = lines.unwrap_or_default();
        for (pin, group) in &self.groups {
            let known = lines
                .iter_mut()
                .find(|line| line.get("name").is_some_and(|name| *name == pin.name));
            let line = match (known, group) {
                (Some(line), Err(_)) => line,
                (Some(_), Ok(_)) => continue,
                (None, Ok(group)) => {
                    lines.push(group.status("loaded"));
                    continue;
                }
                (None, Err(_)) => {
                    let mut line = pin.status();
                    line.insert("state".to_owned(), json!("failed"));
                    lines.push_mut(line)
                }
            };
            if let Err(error) = group {
                line.insert("code".to_owned(), json!(error.code));
                line.insert("error".to_owned(), json!(error.message));
            }
        }
        lines
    }
}

impl Slot {
    fn name(&self) -> &str {
        match self {
            Self::Loaded(taken) => &taken.plugin.pin.name,
            Self::Failed { name, .. } => name,
        }
    }

    /// Adds to the line of an active plugin what the manifest asks for, where it is not what is active.
    fn tell(&self, line: &mut Map<String, Value>) {
        match self {
            Self::Loaded(Taken { plugin, away }) => {
                line.insert("asked".to_owned(), json!(plugin.pin.digest));
                if let Some(error) = away {
                    line.insert("code".to_owned(), json!(error.code));
                    line.insert("error".to_owned(), json!(error.message));
                }
            }
            Self::Failed {
                entry,
                code,
                message,
                ..
            } => {
                let asked = entry.as_ref().and_then(|entry| entry.sha256.clone());
                line.insert("asked".to_owned(), json!(asked));
                line.insert("code".to_owned(), json!(code));
                line.insert("error".to_owned(), json!(message));
            }
        }
    }
}
