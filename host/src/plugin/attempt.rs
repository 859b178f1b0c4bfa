//! One reading of the manifest: a set where every plugin of it can be used, and what an operator is
//! shown of each either way.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::aside::Checked;
use super::group::{Group, GroupPin};
use super::load::{Loader, Pins, Taken, load_error};
use super::loaded::failed_status;
use super::lock::{self, Lock};
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
            Slot::Loaded { taken, .. } => taken.away.is_some(),
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
    Loaded {
        entry: Box<Entry>,
        taken: Taken,
    },
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
    /// Loads what the manifest names and its lock file allows, aside. Plugins of `before` that would be the
    /// same are taken from there, with what was counted of them.
    pub(super) async fn of_manifest(
        loader: &Loader,
        settings: &config::Plugins,
        outbound: &config::Outbound,
        before: &[Arc<PluginSet>],
    ) -> Self {
        let lock = Lock::read(&lock::beside(&settings.manifest));
        Self::locked_by(lock, loader, settings, outbound, before).await
    }

    /// The same with this lock file, or none.
    pub(super) async fn locked_by(
        lock: Result<Option<Lock>, String>,
        loader: &Loader,
        settings: &config::Plugins,
        outbound: &config::Outbound,
        before: &[Arc<PluginSet>],
    ) -> Self {
        let mut files = vec![settings.manifest.clone(), lock::beside(&settings.manifest)];
        let nothing = |files, error| Self::new(Vec::new(), Vec::new(), files, Err(error));
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) => return nothing(files, error),
        };
        let Manifest {
            trial,
            entries,
            groups,
        } = match manifest::read(&settings.manifest, settings, outbound) {
            Ok(manifest) => manifest,
            Err(error) => return nothing(files, error),
        };
        let mut slots = Vec::new();
        for (name, entry) in entries {
            slots.push(match entry {
                Ok(entry) => {
                    files.extend(entry.source.files());
                    load_one(loader, entry, lock.as_ref(), before).await
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

async fn load_one(
    loader: &Loader,
    mut entry: Entry,
    lock: Option<&Lock>,
    before: &[Arc<PluginSet>],
) -> Slot {
    let loading = async {
        if let Some(lock) = lock {
            let locked = lock.digest(&entry);
            entry.locked = Some(locked.map_err(|error| load_error(&entry.name, error))?);
        }
        loader.load_file(&entry, before).await
    };
    match loading.await {
        Ok(taken) => Slot::Loaded {
            entry: Box::new(entry),
            taken,
        },
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
            Slot::Loaded { taken, .. } => plugins.push(taken.plugin.clone()),
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
    /// Adds what is wrong beside the manifest.
    pub(super) fn note(&mut self, error: String) {
        self.error = Some(match self.error.take() {
            Some(before) => format!("{before}\n{error}"),
            None => error,
        });
    }

    /// What is known of each plugin of the manifest.
    pub(super) fn checked(&self) -> Vec<Checked> {
        self.slots.iter().map(Slot::checked).collect()
    }

    /// The components of the manifest, where all of them were loaded.
    pub(super) fn lock(&self) -> Lock {
        let mut lock = Lock::default();
        for slot in &self.slots {
            if let Slot::Loaded { entry, taken } = slot {
                lock.add(entry, &taken.plugin.pin.digest);
            }
        }
        lock
    }

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
                (None, Slot::Loaded { taken, .. }) => {
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
            Self::Loaded { taken, .. } => &taken.plugin.pin.name,
            Self::Failed { name, .. } => name,
        }
    }

    fn checked(&self) -> Checked {
        let of_entry = |name: &str, entry: Option<&Entry>| Checked {
            name: name.to_owned(),
            pinned: entry.is_some_and(|entry| entry.sha256.is_some()),
            locked: entry.is_some_and(|entry| entry.locked.is_some()),
            grants: entry.map(|entry| entry.grants.words()).unwrap_or_default(),
            ..Checked::default()
        };
        match self {
            Self::Loaded {
                entry,
                taken: Taken { plugin, .. },
            } => Checked {
                digest: Some(plugin.pin.digest.clone()),
                signed_by: plugin.signed_by.clone(),
                asks: plugin
                    .component
                    .asks()
                    .iter()
                    .map(|&grant| grant.to_owned())
                    .collect(),
                ..of_entry(&entry.name, Some(entry))
            },
            Self::Failed {
                name,
                entry,
                code,
                message,
            } => Checked {
                code: Some(code),
                error: Some(message.clone()),
                ..of_entry(name, entry.as_deref())
            },
        }
    }

    /// Adds to the line of an active plugin what the manifest asks for, where it is not what is active.
    fn tell(&self, line: &mut Map<String, Value>) {
        match self {
            Self::Loaded {
                taken: Taken { plugin, away },
                ..
            } => {
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
