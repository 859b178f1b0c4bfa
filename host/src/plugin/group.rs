//! Groups: plugins of one world that judge together, by a boolean expression over them.
//!
//! A member's own word counts only through its group. Every member is asked, whatever the others said, so that the
//! log of decisions is complete. Here is what a group is and what follows from its members' votes; `decide` and
//! `validate` ask.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::{WORDS, bounded};
use super::counters::Counters;
use super::expression::{Expression, NAMES, Truth};
use super::load::Pins;
use super::loaded::LoadedPlugin;
use super::modes::{Enforcement, ModeFor, Modes};
use super::{PluginError, PluginSet, TaskView};
use crate::wasm::{LoadError, World};

/// Bytes of a group's message.
const MESSAGE: usize = 512;
/// Bytes of one member's words in its group's; the member's own decision has all of them.
const CAUSE: usize = 300;

/// A group as the manifest says it, and as it is kept in the bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupPin {
    pub(super) name: String,
    pub(super) expression: String,
    /// What the agent or the caller is told first where it denies.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    message: Option<String>,
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
    expression: Expression,
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

/// What one member said, as far as it matters to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    /// It has nothing against it.
    Passes,
    /// It is for it.
    Allows,
    /// It is against it.
    Denies,
    /// A person is to decide.
    Asks,
    /// It could not answer, and its `on_error` is `deny`.
    Unknown,
}

impl Vote {
    /// Two cases side by side: where a person would say no to those that ask, and where yes.
    fn known(self) -> Truth {
        match self {
            Self::Passes | Self::Allows => Truth::YES,
            Self::Denies => Truth::NO,
            Self::Asks => Truth::known(PERSON_SAYS_YES),
            Self::Unknown => Truth::UNKNOWN,
        }
    }
}

const PERSON_SAYS_NO: u64 = 0b01;
const PERSON_SAYS_YES: u64 = 0b10;

/// What a group says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its expression holds.
    Passes,
    /// It holds, and every member was for it.
    Allows,
    /// It holds where a person says yes.
    Asks,
    /// It does not hold.
    Denies,
    /// It would have depended on a member that could not answer: it denies.
    Unknown,
}

/// The votes of a group's members, as they come.
#[derive(Debug)]
pub(super) struct Ballot<'a> {
    group: &'a Group,
    votes: Vec<Cast>,
    /// Of the first member that could not answer.
    fault: Option<String>,
}

#[derive(Debug)]
struct Cast {
    /// The member's in the group's expression.
    place: usize,
    vote: Vote,
    words: String,
}

/// What came of the votes.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) outcome: Outcome,
    /// The members because of whom it asks or denies.
    pub(super) causes: Vec<String>,
    /// The group's words, where it asks or denies.
    pub(super) words: Option<String>,
    /// As in [`super::Decision::fault`], where that is why it denies.
    pub(super) fault: Option<String>,
}

impl<'a> Ballot<'a> {
    pub(super) fn of(group: &'a Group) -> Self {
        Self {
            group,
            votes: Vec::new(),
            fault: None,
        }
    }

    /// `words` are the member's; `fault` is set where it could not answer.
    pub(super) fn cast(&mut self, member: &str, vote: Vote, words: &str, fault: Option<&String>) {
        if vote == Vote::Unknown && self.fault.is_none() {
            self.fault = fault.cloned();
        }
        let mut names = self.group.expression.names().iter();
        if let Some(place) = names.position(|name| name == member) {
            let words = bounded(words, CAUSE);
            self.votes.push(Cast { place, vote, words });
        }
    }

    pub(super) fn count(self) -> Tally {
        // Whoever did not vote could not.
        let mut known = [Truth::UNKNOWN; NAMES];
        for cast in &self.votes {
            if let Some(known) = known.get_mut(cast.place) {
                *known = cast.vote.known();
            }
        }
        let of_name = |place: usize| known.get(place).copied().unwrap_or(Truth::UNKNOWN);
        let truth = self.group.expression.over(&of_name);
        let holds = |cases: u64| truth.surely & cases == cases;
        let outcome = if holds(PERSON_SAYS_YES | PERSON_SAYS_NO) {
            match self.votes.iter().all(|cast| cast.vote == Vote::Allows) {
                true => Outcome::Allows,
                false => Outcome::Passes,
            }
        } else if holds(PERSON_SAYS_YES) {
            Outcome::Asks
        } else if truth.maybe & PERSON_SAYS_YES != 0 {
            Outcome::Unknown
        } else {
            Outcome::Denies
        };
        let causes = self.causes(outcome);
        Tally {
            outcome,
            words: self.words(outcome, &causes),
            causes: causes.into_iter().map(|(name, _)| name).collect(),
            fault: self.fault.filter(|_| outcome == Outcome::Unknown),
        }
    }

    /// Who stands in the way, and with which words: whoever has to hold and does not, or must not and does.
    fn causes(&self, outcome: Outcome) -> Vec<(String, String)> {
        let expression = &self.group.expression;
        let cause = |cast: &Cast| {
            let (wanted, unwanted) = expression.wants(cast.place);
            let words = match (outcome, cast.vote) {
                (Outcome::Asks, Vote::Asks) if wanted => cast.words.clone(),
                (Outcome::Passes | Outcome::Allows | Outcome::Asks, _) => return None,
                (_, Vote::Denies) if wanted => cast.words.clone(),
                (_, Vote::Unknown) => "it could not judge this".to_owned(),
                (_, Vote::Passes | Vote::Allows) if unwanted => {
                    "it has nothing against it".to_owned()
                }
                (_, Vote::Asks) if unwanted => "it would leave it to a person".to_owned(),
                _ => return None,
            };
            Some((expression.names().get(cast.place)?.clone(), words))
        };
        self.votes.iter().filter_map(cause).collect()
    }

    fn words(&self, outcome: Outcome, causes: &[(String, String)]) -> Option<String> {
        let name = &self.group.pin.name;
        let first = match (outcome, &self.group.pin.message) {
            (Outcome::Passes | Outcome::Allows, _) => return None,
            (Outcome::Asks, _) => format!("The policy group `{name}` leaves this to a person."),
            (Outcome::Denies, Some(message)) => message.clone(),
            (Outcome::Denies, None) => format!("The policy group `{name}` denies this."),
            (Outcome::Unknown, _) => format!("The policy group `{name}` could not judge this."),
        };
        let causes: Vec<_> = causes
            .iter()
            .map(|(name, words)| format!("`{name}`: {words}"))
            .collect();
        let words = format!("{first} {}", causes.join("; "));
        Some(bounded(words.trim_end(), WORDS))
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
