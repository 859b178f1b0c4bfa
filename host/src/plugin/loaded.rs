//! One loaded plugin: all facts about it in one place.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::manifest::{Enforcement, Entry, OnError};
use super::{Action, Grants, StandingAction};
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
    pub(super) description: Description,
    pub(super) component: Component,
    pub(super) counters: Counters,
    pub(super) since: Timestamp,
}

/// What became of a plugin's calls in this process.
#[derive(Debug, Default)]
pub(super) struct Counters {
    calls: AtomicU64,
    denials: AtomicU64,
    traps: AtomicU64,
}

impl Counters {
    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn denied(&self) {
        self.denials.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn trapped(&self) {
        self.traps.fetch_add(1, Ordering::Relaxed);
    }
}

impl LoadedPlugin {
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
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let line = json!({
            "name": pin.name,
            "world": pin.world,
            "mode": pin.mode,
            "onError": pin.on_error,
            "state": state,
            "digest": pin.digest,
            "settings": pin.settings,
            "grants": pin.grants,
            "limits": pin.limits,
            "always": pin.always,
            "required": pin.required,
            "version": self.description.version,
            "summary": self.description.summary,
            "calls": count(&self.counters.calls),
            "denials": count(&self.counters.denials),
            "traps": count(&self.counters.traps),
            "since": self.since,
        });
        members(line)
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
