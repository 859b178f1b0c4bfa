//! One reading of the manifest: a set where every plugin of it can be used, and what an operator is
//! shown of each either way.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::aside::Checked;
use super::load::{Loader, Pins, load_error};
use super::loaded::{LoadedPlugin, failed_status};
use super::lock::{self, Lock};
use super::manifest::{self, Entry, Manifest};
use super::trial::Extent;
use super::{PluginError, PluginSet, signed};
use crate::config;

/// What became of loading the manifest.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    slots: Vec<Slot>,
    /// Why its set is not active.
    pub(super) error: Option<String>,
    at: Option<Timestamp>,
    /// What was read, the manifest first.
    pub(super) files: Vec<PathBuf>,
}

impl Attempt {
    /// Whether a server was away: later it may be there.
    pub(super) fn is_worth_another(&self) -> bool {
        let away = |slot: &Slot| matches!(slot, Slot::Failed { code, .. } if *code == "plugin-source-unreachable");
        self.slots.iter().any(away)
    }
}

/// One plugin of the manifest.
#[derive(Debug)]
enum Slot {
    Loaded {
        entry: Box<Entry>,
        plugin: Arc<LoadedPlugin>,
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
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) => return Self::new(Vec::new(), files, Err(error)),
        };
        let Manifest { trial, entries } =
            match manifest::read(&settings.manifest, settings, outbound) {
                Ok(manifest) => manifest,
                Err(error) => return Self::new(Vec::new(), files, Err(error)),
            };
        let mut slots = Vec::new();
        for (name, entry) in entries {
            slots.push(match entry {
                Ok(entry) => {
                    if let Some(component) = entry.source.file() {
                        files.extend([component.to_owned(), signed::file_beside(component)]);
                    }
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
        let set = set_of(&slots);
        Self {
            trial,
            ..Self::new(slots, files, set)
        }
    }

    /// Nothing can be loaded at all.
    pub(super) fn failed(error: String) -> Self {
        Self::new(Vec::new(), Vec::new(), Err(error))
    }

    fn new(slots: Vec<Slot>, files: Vec<PathBuf>, set: Result<PluginSet, String>) -> Self {
        let attempt = Attempt {
            slots,
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
        Ok(plugin) => Slot::Loaded {
            entry: Box::new(entry),
            plugin,
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

/// The set of the slots, or what is wrong with each that failed.
fn set_of(slots: &[Slot]) -> Result<PluginSet, String> {
    let mut plugins = Vec::new();
    let mut mistakes = Vec::new();
    for slot in slots {
        match slot {
            Slot::Loaded { plugin, .. } => plugins.push(plugin.clone()),
            Slot::Failed { name, message, .. } => {
                mistakes.push(format!("plugin `{name}`: {message}"));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes.join("\n"));
    }
    let pins = Pins::of(&plugins);
    let (_, revision) = pins.canonical().map_err(|error| error.to_string())?;
    Ok(PluginSet::new(revision, plugins))
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
            if let Slot::Loaded { entry, plugin } = slot {
                lock.add(entry, &plugin.pin.digest);
            }
        }
        lock
    }

    /// `{"revision", "error"?, "attemptedAt", "plugins": […]}`: each plugin of the active set, with the
    /// last error where the manifest asks for something else of it that cannot be had; then those of the
    /// manifest that are not in the set.
    pub(super) fn status(&self, active: Option<&PluginSet>) -> Map<String, Value> {
        let mut lines: Vec<Map<String, Value>> = Vec::new();
        for plugin in active.into_iter().flat_map(PluginSet::plugins) {
            lines.push(plugin.status("active"));
        }
        for slot in &self.slots {
            let name = slot.name();
            let line = lines
                .iter_mut()
                .find(|line| line.get("name").is_some_and(|known| known == name));
            match (line, slot) {
                (Some(line), slot) => slot.tell(line),
                (None, Slot::Loaded { plugin, .. }) => lines.push(plugin.status("loaded")),
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
        status
    }
}

impl Slot {
    fn name(&self) -> &str {
        match self {
            Self::Loaded { plugin, .. } => &plugin.pin.name,
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
            Self::Loaded { entry, plugin } => Checked {
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
            Self::Loaded { plugin, .. } => {
                line.insert("asked".to_owned(), json!(plugin.pin.digest));
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
