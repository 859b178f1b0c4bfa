//! A tool call, put to the tool-permission plugins and groups of a set.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::answer::{self, Fault, Judgement};
use super::ballot::{Ballot, Outcome, Vote};
use super::group::Group;
use super::loaded::LoadedPlugin;
use super::manifest::OnError;
use super::modes::Enforcement;
use super::set::Judge;
use super::verdict::{Question, Ruling, Verdict};
use super::view::RealPath;
use super::{Decision, PluginSet, TaskState, TaskView, ToolCall};
use crate::wasm::{Call, CallOutcome, Reach};

/// Bytes of the agent's own names in a decision; it chooses those of MCP tools.
const NAME: usize = 256;

impl PluginSet {
    /// Has what the next tool call needs made before it comes: for whoever has just answered one.
    pub async fn prepare(&self) {
        let asked = self.plugins().iter();
        for plugin in asked.filter(|plugin| plugin.is_ever_asked()) {
            plugin.component.prepare().await;
        }
    }

    /// Asks the tool-permission plugins in order: first deny wins, a rewrite feeds the next. Where one
    /// wants a person to decide and none denies, the first one's question is put, about the call as all
    /// of them left it. A group is asked whole, where its first member stands, and counts as one of them.
    ///
    /// A plugin that cannot answer denies, or where its `on_error` is `allow` has no opinion: a
    /// fault never lets a call pass the agent's own rules. All of them together have `within`,
    /// waiting for a place included; whoever has not answered by then could not.
    pub async fn decide(
        &self,
        task: &Arc<TaskView>,
        call: ToolCall,
        state: &TaskState,
        within: Duration,
    ) -> Ruling {
        let mut hearing = Hearing {
            set: self,
            task,
            call: Arc::new(call),
            state,
            deadline: Instant::now() + within,
            decisions: Vec::new(),
        };
        let mut verdict = Verdict::Abstain;
        let mut question: Option<Question> = None;
        for judge in &self.policies {
            let judgement = match judge {
                Judge::Plugin(plugin) => hearing.plugin(plugin).await,
                Judge::Group(group, members) => hearing.group(group, members).await,
            };
            match judgement {
                None | Some(Judgement::Abstain) => {}
                Some(Judgement::Allow) => {
                    if verdict == Verdict::Abstain {
                        verdict = Verdict::Allow(None);
                    }
                }
                Some(Judgement::Rewrite(input)) => {
                    verdict = Verdict::Allow(Some(input.clone()));
                    hearing.rewrite(input);
                }
                Some(Judgement::Deny(reason)) => {
                    return Ruling {
                        verdict: Verdict::Deny(reason),
                        decisions: hearing.decisions,
                    };
                }
                Some(Judgement::Ask(reason)) => {
                    let asking = question.get_or_insert_with(|| Question::of(reason));
                    asking.plugins.push(judge.name().to_owned());
                }
            }
        }
        if let Some(question) = question {
            let rewritten = matches!(verdict, Verdict::Allow(Some(_)));
            let call = hearing.call.as_ref().clone();
            verdict = Verdict::Ask(question.about(call, rewritten));
        }
        Ruling {
            verdict,
            decisions: hearing.decisions,
        }
    }
}

/// One call while it is decided.
struct Hearing<'a> {
    set: &'a PluginSet,
    task: &'a Arc<TaskView>,
    /// As those who were asked left it.
    call: Arc<ToolCall>,
    state: &'a TaskState,
    deadline: Instant,
    decisions: Vec<Decision>,
}

impl Hearing<'_> {
    fn rewrite(&mut self, input: Value) {
        self.call = Arc::new(ToolCall {
            input,
            real: RealPath::Now,
            ..self.call.as_ref().clone()
        });
    }

    /// What counts; none where the plugin is off for this task or only looks on.
    async fn plugin(&mut self, plugin: &LoadedPlugin) -> Option<Judgement> {
        let mode = plugin.mode_for(self.task);
        if mode == Enforcement::Off {
            return None;
        }
        let (judgement, decision) = self.ask(plugin, mode, Ok).await;
        self.decisions.push(decision);
        (mode == Enforcement::Enforce).then_some(judgement)
    }

    /// The same of a group, whose members are all asked.
    async fn group(&mut self, group: &Group, members: &[Arc<LoadedPlugin>]) -> Option<Judgement> {
        let mode = group.mode_for(self.task);
        if mode == Enforcement::Off {
            return None;
        }
        let mut ballot = Ballot::of(group);
        for member in members {
            let judges = |judgement| match judgement {
                Judgement::Rewrite(_) => Err(Fault::changing_in_a_group()),
                judgement => Ok(judgement),
            };
            let (judgement, mut decision) = self.ask(member, Enforcement::Enforce, judges).await;
            let (vote, words) = match judgement {
                Judgement::Deny(_) if decision.fault.is_some() => (Vote::Unknown, String::new()),
                Judgement::Deny(words) => (Vote::Denies, words),
                Judgement::Ask(words) => (Vote::Asks, words),
                Judgement::Allow => (Vote::Allows, String::new()),
                // There is no rewriting here.
                Judgement::Abstain | Judgement::Rewrite(_) => (Vote::Passes, String::new()),
            };
            ballot.cast(&member.pin.name, vote, &words, decision.fault.as_ref());
            decision.group = Some(group.pin.name.clone());
            decision.enforced = false;
            self.decisions.push(decision);
        }
        let tally = ballot.count();
        let words = tally.words.clone().unwrap_or_default();
        let judgement = match tally.outcome {
            Outcome::Passes => Judgement::Abstain,
            Outcome::Allows => Judgement::Allow,
            Outcome::Asks => Judgement::Ask(words),
            Outcome::Denies | Outcome::Unknown => Judgement::Deny(words),
        };
        let decision = self.set.decision_of_group(group, "tool", mode, &tally);
        let decision = self.about_the_call(decision, &judgement);
        group.counters.count(&decision);
        self.decisions.push(decision);
        (mode == Enforcement::Enforce).then_some(judgement)
    }

    /// `judges` says what an answer counts as.
    async fn ask(
        &self,
        plugin: &LoadedPlugin,
        mode: Enforcement,
        judges: impl Fn(Judgement) -> Result<Judgement, Fault>,
    ) -> (Judgement, Decision) {
        let set = self.set;
        let reach = Reach {
            task: Some(self.task.clone()),
            call: Some(self.call.clone()),
            notes: Some(self.state.of(&plugin.pin.name)),
            redactor: set.redactor.clone(),
            ..Reach::default()
        };
        let asked = Instant::now();
        let answered = tokio::time::timeout_at(self.deadline, plugin.component.decide(reach)).await;
        let answered = answered.unwrap_or_else(|_late| Call {
            outcome: CallOutcome::TimedOut,
            cited: None,
            time: asked.elapsed(),
            memory: 0,
        });
        let mut decision = set.decision(plugin, "tool", mode, &answered);
        let judgement = answer::settle(answered, &set.redactor)
            .and_then(|opinion| answer::judgement(opinion, &set.redactor))
            .and_then(judges);
        let judgement = match judgement {
            Ok(judgement) => judgement,
            Err(fault) => {
                fault.record(&mut decision);
                match plugin.pin.on_error {
                    OnError::Allow => Judgement::Abstain,
                    OnError::Deny => Judgement::Deny(format!(
                        "The policy `{}` could not judge this call, so it is denied.",
                        plugin.pin.name
                    )),
                }
            }
        };
        let decision = self.about_the_call(decision, &judgement);
        plugin.counters.count(&decision);
        (judgement, decision)
    }

    fn about_the_call(&self, mut decision: Decision, judgement: &Judgement) -> Decision {
        let redactor = &self.set.redactor;
        decision.call = Some(redactor.words(&self.call.id, NAME));
        decision.tool = Some(redactor.words(&self.call.tool, NAME));
        decision.input_sha256 = Some(hex::encode(Sha256::digest(self.call.input.to_string())));
        decision.verdict = judgement.name().to_owned();
        if let Judgement::Deny(reason) | Judgement::Ask(reason) = judgement {
            decision.reason.get_or_insert_with(|| reason.clone());
        }
        decision
    }
}
