//! One loaded plugin: all facts about it in one place.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::counters::Counters;
use super::manifest::{Entry, OnError};
use super::modes::{Enforcement, ModeFor, Modes};
use super::{Action, Grants, StandingAction, TaskView};
use crate::wasm::{Component, Description, Limits, World};

/// What identifies a plugin in a set and is kept in the bucket: everything that can change what it
/// decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Pin {
    pub(super) name: String,
    pub(super) world: World,
    /// Lower-case hex SHA-256 of the component.
    pub(super) digest: String,
    pub(super) settings: Map<String, Value>,
    pub(super) grants: Vec<String>,
    pub(super) mode: Enforcement,
    /// For some tasks, the first that is meant for it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) modes: Vec<ModeFor>,
    pub(super) on_error: OnError,
    pub(super) limits: PinLimits,
    /// Set where the operator has it run for every task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) always: Option<StandingAction>,
    /// Set where it is of no use without a repository, whatever it is granted.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(super) needs_repository: bool,
    /// Set where a task fails with it. Left out otherwise, so that older sets keep their revision.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(super) required: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PinLimits {
    memory: u64,
    time_ms: u64,
    output: u64,
}

impl Pin {
    pub(super) fn new(entry: &Entry, digest: String) -> Self {
        Self {
            name: entry.name.clone(),
            world: entry.world,
            digest,
            settings: entry.settings.clone(),
            grants: entry.grants.words(),
            mode: entry.mode,
            modes: entry.modes.clone(),
            on_error: entry.on_error,
            limits: PinLimits::new(&entry.limits),
            always: entry.standing.clone(),
            needs_repository: entry.needs_repository,
            required: entry.required,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            memory: self.limits.memory,
            time: std::time::Duration::from_millis(self.limits.time_ms),
            output: self.limits.output,
        }
    }
}

impl PinLimits {
    fn new(limits: &Limits) -> Self {
        let time_ms = u64::try_from(limits.time.as_millis()).unwrap_or(u64::MAX);
        Self {
            memory: limits.memory,
            time_ms,
            output: limits.output,
        }
    }
}

/// A plugin that can be called.
#[derive(Debug)]
pub(super) struct LoadedPlugin {
    pub(super) pin: Pin,
    /// What the pin's words mean.
    pub(super) grants: Grants,
    pub(super) modes: Modes,
    pub(super) description: Description,
    pub(super) component: Component,
    /// Names of the keys that signed the component, where it was looked for them.
    pub(super) signed_by: Vec<String>,
    pub(super) counters: Counters,
    pub(super) since: Timestamp,
}

impl LoadedPlugin {
    /// Whether its word counts for this task.
    pub(super) fn mode_for(&self, task: &TaskView) -> Enforcement {
        self.modes.of(task).unwrap_or(self.pin.mode)
    }

    /// Whether there can be a task that it is asked about.
    pub(super) fn is_ever_asked(&self) -> bool {
        self.pin.mode != Enforcement::Off || self.modes.ever_on()
    }

    /// What those must know who decide whether it runs.
    pub(super) fn action(&self) -> Action {
        Action {
            plugin: self.pin.name.clone(),
            needs_repository: self.grants.git || self.pin.needs_repository,
            commits: self.grants.git,
            required: self.pin.required,
            standing: self.pin.always.clone(),
        }
    }

    /// A line of `GET /plugins`.
    pub(super) fn status(&self, state: &str) -> Map<String, Value> {
        let pin = &self.pin;
        let line = json!({
            "name": pin.name,
            "world": pin.world,
            "mode": pin.mode,
            "modes": pin.modes,
            "onError": pin.on_error,
            "state": state,
            "digest": pin.digest,
            "signedBy": self.signed_by,
            "contract": self.component.contract(),
            "settings": pin.settings,
            "grants": pin.grants,
            "asks": self.component.asks(),
            "limits": pin.limits,
            "always": pin.always,
            "required": pin.required,
            "version": self.description.version,
            "summary": self.description.summary,
            "since": self.since,
        });
        let mut line = members(line);
        line.extend(self.counters.status());
        line
    }
}

fn members(line: Value) -> Map<String, Value> {
    match line {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// A line of `GET /plugins` for a plugin that could not be loaded.
pub(super) fn failed_status(
    name: &str,
    entry: Option<&Entry>,
    code: &str,
    message: &str,
) -> Map<String, Value> {
    let mut line =
        members(json!({ "name": name, "state": "failed", "code": code, "error": message }));
    if let Some(entry) = entry {
        line.extend(members(json!({
            "world": entry.world,
            "mode": entry.mode,
            "onError": entry.on_error,
            "settings": entry.settings,
            "grants": entry.grants.words(),
            "limits": PinLimits::new(&entry.limits),
        })));
    }
    line
}
