//! Groups: plugins of one world that judge together, by a boolean expression over them.
//!
//! A member's own word counts only through its group. Every member is asked, whatever the others said, so that the
//! log of decisions is complete. Here is what a group is; `decide` and `validate` ask, `ballot` says what follows.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::counters::Counters;
use super::expression::Expression;
use super::load::Pins;
use super::loaded::LoadedPlugin;
use super::modes::{Enforcement, ModeFor, Modes};
use super::{PluginError, PluginSet, TaskView};
use crate::wasm::{LoadError, World};

/// Bytes of a group's message.
const MESSAGE: usize = 512;

/// A group as the manifest says it, and as it is kept in the bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupPin {
    pub(super) name: String,
    pub(super) expression: String,
    /// What the agent or the caller is told first where it denies.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) mode: Enforcement,
    /// For some tasks, the first that is meant for it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) modes: Vec<ModeFor>,
}

/// What a group must know of a plugin that may be its member.
pub(super) struct Candidate<'a> {
    pub(super) name: &'a str,
    pub(super) world: World,
    pub(super) mode: Enforcement,
    pub(super) modes: &'a [ModeFor],
}

/// A group that was checked against the plugins of its set.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) pin: GroupPin,
    pub(super) world: World,
    modes: Modes,
    pub(super) expression: Expression,
    pub(super) counters: Counters,
    since: Timestamp,
}

/// Checks the groups of one set against its plugins. What is wrong with one stands at it.
pub(super) fn check(
    pins: &[GroupPin],
    plugins: &[Candidate<'_>],
) -> Vec<Result<Arc<Group>, LoadError>> {
    let mut taken: HashMap<String, &str> = HashMap::new();
    let group = |pin| {
        let group = Group::check(pin, plugins).map_err(mistake)?;
        for name in group.expression.names() {
            if let Some(other) = taken.insert(name.clone(), &pin.name) {
                return Err(mistake(format!(
                    "expression: `{name}` is a member of the group `{other}` already"
                )));
            }
        }
        Ok(Arc::new(group))
    };
    pins.iter().map(group).collect()
}

/// The groups of a set of the bucket; one that `before` has is taken from there.
pub(super) fn of_pins(
    pins: &Pins,
    before: &[Arc<PluginSet>],
) -> Result<Vec<Arc<Group>>, PluginError> {
    let candidate = |pin| Candidate::from(pin);
    let plugins: Vec<_> = pins.plugins.iter().map(candidate).collect();
    let checked = check(&pins.groups, &plugins);
    pins.groups
        .iter()
        .zip(checked)
        .map(|(pin, group)| match group {
            Ok(group) => Ok(group.or_as_before(before)),
            Err(error) => Err(PluginError::Group {
                group: pin.name.clone(),
                message: error.message,
            }),
        })
        .collect()
}

fn mistake(message: String) -> LoadError {
    LoadError::new("plugin-group-invalid", message)
}

impl<'a> From<&'a super::loaded::Pin> for Candidate<'a> {
    fn from(pin: &'a super::loaded::Pin) -> Self {
        Self {
            name: &pin.name,
            world: pin.world,
            mode: pin.mode,
            modes: &pin.modes,
        }
    }
}

impl Group {
    fn check(pin: &GroupPin, plugins: &[Candidate<'_>]) -> Result<Self, String> {
        let length = pin.message.as_ref().map_or(1, String::len);
        if !(1..=MESSAGE).contains(&length) {
            return Err(format!("message: it is to have 1 to {MESSAGE} bytes"));
        }
        let modes = Modes::read(&pin.modes)?;
        let expression = Expression::read(&pin.expression)?;
        let mut first: Option<&Candidate<'_>> = None;
        for name in expression.names() {
            let member = member(name, plugins)?;
            match first {
                Some(first) if first.world != member.world => {
                    return Err(format!(
                        "expression: `{}` is a {} plugin and `{name}` a {} plugin: a group is of one world",
                        first.name,
                        first.world.as_str(),
                        member.world.as_str(),
                    ));
                }
                first_or_none => first = first_or_none.or(Some(member)),
            }
        }
        let world = first.ok_or("expression: it names no plugin")?.world;
        Ok(Self {
            pin: pin.clone(),
            world,
            modes,
            expression,
            counters: Counters::default(),
            since: Timestamp::now(),
        })
    }

    /// With what was counted of it, where a set has it already.
    pub(super) fn or_as_before(self: Arc<Self>, before: &[Arc<PluginSet>]) -> Arc<Self> {
        let same = |other: &&Arc<Self>| other.pin == self.pin && other.world == self.world;
        let mut groups = before.iter().flat_map(|set| set.groups());
        groups.find(same).cloned().unwrap_or(self)
    }

    /// Its members of these plugins, in their order.
    pub(super) fn members(&self, plugins: &[Arc<LoadedPlugin>]) -> Vec<Arc<LoadedPlugin>> {
        let is_member = |plugin: &&Arc<LoadedPlugin>| self.has(&plugin.pin.name);
        plugins.iter().filter(is_member).cloned().collect()
    }

    pub(super) fn has(&self, plugin: &str) -> bool {
        self.expression.names().iter().any(|name| name == plugin)
    }

    /// Whether its word counts for this task.
    pub(super) fn mode_for(&self, task: &TaskView) -> Enforcement {
        self.modes.of(task).unwrap_or(self.pin.mode)
    }

    /// Whether there can be a task that its members are asked about.
    pub(super) fn is_ever_asked(&self) -> bool {
        self.pin.mode != Enforcement::Off || self.modes.ever_on()
    }

    /// A line of `GET /plugins`.
    pub(super) fn status(&self, state: &str) -> Map<String, Value> {
        let mut line = self.pin.status();
        let (calls, denials) = self.counters.answers();
        let more = json!({
            "world": self.world, "members": self.expression.names(), "state": state,
            "calls": calls, "denials": denials, "since": self.since,
        });
        line.extend(more.as_object().cloned().unwrap_or_default());
        line
    }
}

impl GroupPin {
    /// What the manifest says of it, for a line of `GET /plugins`.
    pub(super) fn status(&self) -> Map<String, Value> {
        let line = json!({
            "name": self.name, "expression": self.expression, "message": self.message,
            "mode": self.mode, "modes": self.modes,
        });
        line.as_object().cloned().unwrap_or_default()
    }
}

fn member<'a>(name: &str, plugins: &'a [Candidate<'a>]) -> Result<&'a Candidate<'a>, String> {
    let Some(member) = plugins.iter().find(|plugin| plugin.name == name) else {
        let judging = plugins.iter().filter(|it| it.world != World::PostExecution);
        let known: Vec<_> = judging.map(|plugin| plugin.name).collect();
        return Err(match known.is_empty() {
            true => {
                format!("expression: no plugin is named `{name}`, and there is none that judges")
            }
            false => format!(
                "expression: no plugin is named `{name}`; there are: {}",
                known.join(", ")
            ),
        });
    };
    if member.world == World::PostExecution {
        return Err(format!(
            "expression: `{name}` is a post-execution plugin, which acts and judges nothing: members are \
             validators or tool-permission plugins"
        ));
    }
    if member.mode != Enforcement::Enforce || !member.modes.is_empty() {
        return Err(format!(
            "`{name}` is a member, so its `mode` is `enforce` and it has no `modes`: give the group a mode"
        ));
    }
    Ok(member)
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
