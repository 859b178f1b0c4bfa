//! A request, put to the validators and groups of a set.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::{self, Fault, bounded};
use super::ballot::{Ballot, Outcome, Tally, Vote};
use super::group::Group;
use super::loaded::LoadedPlugin;
use super::manifest::OnError;
use super::modes::Enforcement;
use super::set::Judge;
use super::verdict::{Rejection, Validated, Validation};
use super::{Decision, PluginSet, TaskView};
use crate::redact::Redactor;
use crate::wasm::Reach;

/// Bytes of a member's code and words in the details of its group's refusal.
const CODE: usize = 64;
const WORDS: usize = 300;

impl PluginSet {
    /// How many validators there are, each group counted once; [`PluginSet::validate`] asks the n-th.
    pub fn validators(&self) -> usize {
        self.validators.len()
    }

    /// Asks the n-th validator; none where it is off for this task. A plugin that cannot answer counts
    /// as its `on_error` says, and so does an `n` that does not exist: as a refusal. What it says is freed
    /// of what the redactor knows: a request may repeat its secrets where anybody reads them.
    pub async fn validate(
        &self,
        n: usize,
        task: Arc<TaskView>,
        redactor: &Redactor,
    ) -> Option<Validated> {
        match self.validators.get(n) {
            None => Some(self.no_such_validator(n)),
            Some(Judge::Plugin(plugin)) => self.by_plugin(plugin, task, redactor).await,
            Some(Judge::Group(group, members)) => {
                self.by_group(group, members, task, redactor).await
            }
        }
    }

    async fn by_plugin(
        &self,
        plugin: &LoadedPlugin,
        task: Arc<TaskView>,
        redactor: &Redactor,
    ) -> Option<Validated> {
        let mode = plugin.mode_for(&task);
        if mode == Enforcement::Off {
            return None;
        }
        let (validation, decision) = self.ask_validator(plugin, (task, redactor), mode, Ok).await;
        Some(Validated {
            validation: where_enforced(mode, validation),
            decision,
            members: Vec::new(),
        })
    }

    async fn by_group(
        &self,
        group: &Group,
        members: &[Arc<LoadedPlugin>],
        task: Arc<TaskView>,
        redactor: &Redactor,
    ) -> Option<Validated> {
        let mode = group.mode_for(&task);
        if mode == Enforcement::Off {
            return None;
        }
        let mut ballot = Ballot::of(group);
        let (mut refusals, mut decisions) = (Vec::new(), Vec::new());
        for member in members {
            let judges = |validation| match validation {
                Validation::Amend(_) => Err(Fault::changing_in_a_group()),
                validation => Ok(validation),
            };
            let enforce = Enforcement::Enforce;
            let (validation, mut decision) = self
                .ask_validator(member, (task.clone(), redactor), enforce, judges)
                .await;
            let (name, fault) = (&member.pin.name, decision.fault.as_ref());
            match validation {
                Validation::Reject(_) if fault.is_some() => {
                    ballot.cast(name, Vote::Unknown, "", fault);
                }
                Validation::Reject(rejection) => {
                    ballot.cast(name, Vote::Denies, &rejection.message, None);
                    refusals.push((name.clone(), rejection));
                }
                // There is no amending here.
                Validation::Accept | Validation::Amend(_) => {
                    ballot.cast(name, Vote::Passes, "", fault);
                }
            }
            decision.group = Some(group.pin.name.clone());
            decision.enforced = false;
            decisions.push(decision);
        }
        let tally = ballot.count();
        let mut decision = self.decision_of_group(group, "validation", mode, &tally);
        let validation = match tally.outcome {
            Outcome::Passes | Outcome::Allows => Validation::Accept,
            Outcome::Asks | Outcome::Denies | Outcome::Unknown => {
                Validation::Reject(rejection(group, &tally, &refusals))
            }
        };
        decision.verdict = name(&validation).to_owned();
        group.counters.count(&decision);
        Some(Validated {
            validation: where_enforced(mode, validation),
            decision,
            members: decisions,
        })
    }

    /// `judges` says what an answer counts as.
    async fn ask_validator(
        &self,
        plugin: &LoadedPlugin,
        (task, redactor): (Arc<TaskView>, &Redactor),
        mode: Enforcement,
        judges: impl Fn(Validation) -> Result<Validation, Fault>,
    ) -> (Validation, Decision) {
        let reach = Reach {
            task: Some(task),
            redactor: redactor.clone(),
            ..Reach::default()
        };
        let call = plugin.component.validate(reach).await;
        let mut decision = self.decision(plugin, "validation", mode, &call);
        let validation = answer::settle(call, redactor)
            .and_then(|said| answer::validation(said, redactor))
            .and_then(judges);
        let validation = match validation {
            Ok(validation) => validation,
            Err(fault) => {
                fault.record(&mut decision);
                match plugin.pin.on_error {
                    OnError::Allow => Validation::Accept,
                    OnError::Deny => Validation::Reject(Rejection {
                        code: "plugin-failed".to_owned(),
                        message: format!("The check `{}` could not be made.", plugin.pin.name),
                        field: None,
                        details: None,
                    }),
                }
            }
        };
        decision.verdict = name(&validation).to_owned();
        if let Validation::Reject(rejection) = &validation {
            let words = || rejection.message.clone();
            decision.reason.get_or_insert_with(words);
        }
        plugin.counters.count(&decision);
        (validation, decision)
    }

    fn no_such_validator(&self, n: usize) -> Validated {
        let message = format!("There is no validator number {n}.");
        let rejection = Rejection {
            code: "plugin-failed".to_owned(),
            message: message.clone(),
            field: None,
            details: None,
        };
        let verdict = "reject".to_owned();
        let decision = Decision {
            verdict,
            reason: Some(message),
            ..self.blank("validation")
        };
        Validated {
            validation: Validation::Reject(rejection),
            decision,
            members: Vec::new(),
        }
    }
}

fn where_enforced(mode: Enforcement, validation: Validation) -> Validation {
    match mode {
        Enforcement::Enforce => validation,
        Enforcement::Monitor | Enforcement::Off => Validation::Accept,
    }
}

/// As in [`Decision::verdict`].
fn name(validation: &Validation) -> &'static str {
    match validation {
        Validation::Accept => "accept",
        Validation::Amend(_) => "amend",
        Validation::Reject(_) => "reject",
    }
}

/// A group's refusal, with each member's that led to it.
fn rejection(group: &Group, tally: &Tally, refusals: &[(String, Rejection)]) -> Rejection {
    let cause = |name: &String| {
        let refusal = refusals.iter().find(|(plugin, _)| plugin == name);
        let Some((_, refusal)) = refusal else {
            return json!({ "plugin": name });
        };
        let mut cause = json!({
            "plugin": name, "code": bounded(&refusal.code, CODE),
            "message": bounded(&refusal.message, WORDS),
        });
        if let (Some(field), Some(cause)) = (&refusal.field, cause.as_object_mut()) {
            cause.insert("field".to_owned(), json!(field));
        }
        cause
    };
    let causes: Vec<Value> = tally.causes.iter().map(cause).collect();
    let code = match tally.outcome {
        Outcome::Unknown => "plugin-failed",
        _ => "rejected-by-policy",
    };
    Rejection {
        code: code.to_owned(),
        message: tally.words.clone().unwrap_or_default(),
        field: None,
        details: Some(json!({ "group": group.pin.name, "causes": causes })),
    }
}
