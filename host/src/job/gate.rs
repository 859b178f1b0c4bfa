//! Every tool call of the agent, put to the pinned plugins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::approvals::Approvals;
use crate::agent::{Gate, GateAnswer, Reply};
use crate::plugin::{
    Approved, Decision, Input, Journal, PluginSet, RealPath, RecordedCall, RecordedTask, Ruling,
    TaskState, TaskView, ToApprove, ToolCall, Verdict,
};
use crate::redact::Redactor;
use crate::task::{ApprovalState, EventLog};

/// Calls that are answered and not written down yet; while there are more, no answer is given.
const MOST_UNRECORDED: usize = 64;

/// Asks the plugins; a [`Recorder`] keeps what they decided.
#[derive(Debug)]
pub(super) struct PolicyGate {
    policy: Arc<Policy>,
    approvals: Approvals,
    /// The task's.
    pub(super) log: EventLog,
    recording: JoinHandle<()>,
}

/// What every call is put to, also one that a person changed.
#[derive(Debug)]
struct Policy {
    plugins: Arc<PluginSet>,
    task: Arc<TaskView>,
    state: TaskState,
    /// What a decision may take; less than the agent waits, so that one that comes too late is kept
    /// like every other.
    within: Duration,
    /// Whether calls are wanted after they are answered.
    keeps_calls: bool,
    denied: AtomicU32,
    told: mpsc::Sender<Told>,
}

impl PolicyGate {
    pub(super) fn open(
        plugins: Arc<PluginSet>,
        task: Arc<TaskView>,
        within: Duration,
        approvals: Approvals,
        recorder: Recorder,
    ) -> Self {
        let (told, unrecorded) = mpsc::channel(MOST_UNRECORDED);
        let policy = Policy {
            plugins: Arc::clone(&plugins),
            task,
            state: TaskState::default(),
            within,
            keeps_calls: recorder.inputs.is_some() || recorder.beside.is_some(),
            denied: AtomicU32::new(0),
            told,
        };
        Self {
            policy: Arc::new(policy),
            approvals,
            log: recorder.log.clone(),
            recording: tokio::spawn(recorder.run(plugins, unrecorded)),
        }
    }

    /// Returns once nobody is asked any more and every answer is in both logs; how many were denials.
    pub(super) async fn close(self) -> u32 {
        self.approvals.close().await;
        let denied = self.policy.denied.load(Ordering::Relaxed);
        drop(self.policy);
        if let Err(error) = self.recording.await {
            tracing::error!(%error, "decisions were lost");
        }
        denied
    }
}

#[async_trait]
impl Gate for PolicyGate {
    /// The answer does not wait for the logs, only for a place among those who wait for them.
    async fn decide(&self, call: ToolCall) -> Reply {
        let (id, tool) = (call.id.clone(), call.tool.clone());
        let keeps = self.policy.keeps_calls;
        let call = if keeps { call.settled() } else { call };
        let kept = keeps.then(|| call.clone());
        let ruling = self.policy.judge(call).await;
        match ruling.verdict {
            Verdict::Ask(asked) => self.park(*asked, ruling.decisions, kept),
            verdict => {
                let answer = self
                    .policy
                    .answer(id, tool, verdict, ruling.decisions, kept);
                Reply::Now(answer.await)
            }
        }
    }
}

impl PolicyGate {
    /// The question lives by itself: it is closed and written down also where the agent is gone.
    fn park(&self, asked: ToApprove, decisions: Vec<Decision>, kept: Option<ToolCall>) -> Reply {
        let (policy, approvals) = (Arc::clone(&self.policy), self.approvals.clone());
        let (answer, answered) = oneshot::channel();
        self.approvals.spawn(async move {
            let decided = policy.consult(asked, decisions, kept, &approvals).await;
            // Whoever asked may have gone.
            let _ = answer.send(decided);
            approvals.note().await;
        });
        let lost = || GateAnswer::Deny("The question to a person was lost.".to_owned());
        Reply::Parked(Box::pin(async move {
            answered.await.unwrap_or_else(|_| lost())
        }))
    }
}

impl Policy {
    async fn judge(&self, call: ToolCall) -> Ruling {
        self.plugins
            .decide(&self.task, call, &self.state, self.within)
            .await
    }

    /// Asks a person. What a person puts in the place of the call's input is judged again: a denial
    /// holds for everybody, another question has been answered.
    async fn consult(
        &self,
        asked: ToApprove,
        decisions: Vec<Decision>,
        kept: Option<ToolCall>,
        approvals: &Approvals,
    ) -> GateAnswer {
        let (id, tool) = (asked.call.id.clone(), asked.call.tool.clone());
        let first = asked.plugins.first().cloned().unwrap_or_default();
        let mut persons = decisions.clone();
        persons.retain(|one| one.by() == first);
        self.keep(Answered {
            id: id.clone(),
            tool: tool.clone(),
            call: kept,
            verdict: "ask",
            denial: None,
            decisions,
        })
        .await;
        let outcome = approvals.ask(&asked, &self.told).await;
        let verdict = match outcome.state {
            ApprovalState::Allowed if outcome.answer.input.is_some() => "rewrite",
            ApprovalState::Allowed => "allow",
            _ => "deny",
        };
        for decision in &mut persons {
            decision.at = outcome.answer.at;
            decision.stage = "approval".to_owned();
            decision.verdict = verdict.to_owned();
            decision.reason.clone_from(&outcome.answer.reason);
            decision.approval = Some(Approved {
                by: outcome.answer.by.clone(),
                waited_ms: u64::try_from(outcome.waited.as_millis()).unwrap_or(u64::MAX),
            });
            decision.micros = 0;
        }
        let reason = outcome.answer.reason;
        let verdict = match (outcome.state, outcome.answer.input) {
            (ApprovalState::Allowed, None) => {
                Verdict::Allow(asked.rewritten.then_some(asked.call.input))
            }
            (ApprovalState::Allowed, Some(input)) => {
                let call = ToolCall {
                    input: input.clone(),
                    real: RealPath::Now,
                    ..asked.call
                };
                let again = self.judge(call).await;
                persons.extend(again.decisions);
                match again.verdict {
                    Verdict::Abstain | Verdict::Allow(None) => Verdict::Allow(Some(input)),
                    Verdict::Ask(asked) => Verdict::Allow(Some(asked.call.input)),
                    decided @ (Verdict::Allow(Some(_)) | Verdict::Deny(_)) => decided,
                }
            }
            (ApprovalState::Denied, _) => Verdict::Deny(match reason {
                Some(reason) => format!("A person denied this call: {reason}"),
                None => "A person denied this call.".to_owned(),
            }),
            (ApprovalState::Expired | ApprovalState::Pending, _) => Verdict::Deny(format!(
                "A person would have had to allow this call. {}",
                reason.unwrap_or_default()
            )),
        };
        self.answer(id, tool, verdict, persons, None).await
    }

    async fn answer(
        &self,
        id: String,
        tool: String,
        verdict: Verdict,
        decisions: Vec<Decision>,
        kept: Option<ToolCall>,
    ) -> GateAnswer {
        let (verdict, denial, answer) = match verdict {
            Verdict::Abstain => ("abstain", None, GateAnswer::NoOpinion),
            Verdict::Allow(None) => ("allow", None, GateAnswer::Allow(None)),
            Verdict::Allow(input) => ("rewrite", None, GateAnswer::Allow(input)),
            Verdict::Deny(reason) => {
                self.denied.fetch_add(1, Ordering::Relaxed);
                ("deny", Some(reason.clone()), GateAnswer::Deny(reason))
            }
            // A person is asked by `consult`, and by nobody else.
            Verdict::Ask(asked) => {
                self.denied.fetch_add(1, Ordering::Relaxed);
                ("deny", None, GateAnswer::Deny(asked.reason))
            }
        };
        self.keep(Answered {
            id,
            tool,
            call: kept,
            verdict,
            denial,
            decisions,
        })
        .await;
        answer
    }

    async fn keep(&self, answered: Answered) {
        // The other side ends only after this one.
        if self
            .told
            .send(Told::Answered(Box::new(answered)))
            .await
            .is_err()
        {
            tracing::error!("a decision cannot be kept");
        }
    }
}

/// What is to be kept, in this order.
#[derive(Debug)]
pub(super) enum Told {
    /// An answer.
    Answered(Box<Answered>),
    /// A line of ours.
    Event(Value),
}

/// A call and what was said to it.
#[derive(Debug)]
pub(super) struct Answered {
    id: String,
    tool: String,
    /// As the agent made it, where it is kept or asked about again.
    call: Option<ToolCall>,
    verdict: &'static str,
    /// Why, where it is one.
    denial: Option<String>,
    decisions: Vec<Decision>,
}

/// Keeps every decision, and tells followers what was decided, in the order of the answers.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) decisions: Journal,
    /// Where the operator wants it.
    pub(super) inputs: Option<Journal>,
    /// Where a set is tried beside the task's own.
    pub(super) beside: Option<Beside>,
    /// What a decision may take.
    pub(super) within: Duration,
    pub(super) task: Arc<TaskView>,
    pub(super) log: EventLog,
}

/// A set that is asked after the answer was given. What it counts in calls is its own.
#[derive(Debug)]
pub(super) struct Beside {
    plugins: Arc<PluginSet>,
    state: TaskState,
}

impl Beside {
    pub(super) fn new(plugins: Arc<PluginSet>) -> Self {
        Self {
            plugins,
            state: TaskState::default(),
        }
    }
}

impl Recorder {
    /// Between two answers there is time to have `plugins` ready for the next call.
    async fn run(self, plugins: Arc<PluginSet>, mut unrecorded: mpsc::Receiver<Told>) {
        plugins.prepare().await;
        self.keep(|| Input::Task(RecordedTask::from(&*self.task)));
        while let Some(told) = unrecorded.recv().await {
            match told {
                Told::Answered(answered) => {
                    tokio::join!(self.record(*answered), plugins.prepare());
                }
                Told::Event(event) => self.log.say(event).await,
            }
        }
        if let Some(inputs) = &self.inputs
            && let Err(error) = inputs.close().await
        {
            tracing::warn!(%error, "inputs of decisions were lost");
        }
    }

    fn keep(&self, input: impl FnOnce() -> Input) {
        if let Some(inputs) = &self.inputs
            && let Some(line) = input().to_line(self.log.redactor())
        {
            inputs.add(&[line]);
        }
    }

    /// Keeps the call, and what the set says of it that is tried.
    async fn after(&self, call: ToolCall) {
        self.keep(|| Input::Call(RecordedCall::from(&call)));
        if let Some(Beside { plugins, state }) = &self.beside {
            let ruling = plugins.decide(&self.task, call, state, self.within).await;
            let mut decisions = ruling.decisions;
            redact(&mut decisions, self.log.redactor());
            self.decisions.add(&decisions);
        }
    }

    async fn record(&self, answered: Answered) {
        let Answered {
            id,
            tool,
            call,
            verdict,
            denial,
            mut decisions,
        } = answered;
        redact(&mut decisions, self.log.redactor());
        self.decisions.add(&decisions);
        let micros: u64 = decisions.iter().map(|decision| decision.micros).sum();
        let mut last = decisions.iter().rev();
        let decided = last.find(|one| one.enforced && one.verdict == verdict);
        let decided = decided.filter(|_| verdict != "abstain");
        let plugin = decided.map(|one| &one.plugin).filter(|it| !it.is_empty());
        let mut event = json!({
            "event": "decision", "call": id, "tool": tool, "verdict": verdict,
            "plugin": plugin, "reason": denial, "micros": micros,
        });
        let group = decided.and_then(|one| one.group.as_ref());
        if let (Some(group), Some(event)) = (group, event.as_object_mut()) {
            event.insert("group".to_owned(), json!(group));
        }
        self.log.say(event).await;
        if let Some(call) = call {
            self.after(call).await;
        }
    }
}

/// A plugin may repeat what it saw, and the agent puts into calls what it knows.
pub(super) fn redact(decisions: &mut [Decision], redactor: &Redactor) {
    for decision in decisions {
        for words in [
            &mut decision.call,
            &mut decision.tool,
            &mut decision.reason,
            &mut decision.rule,
        ] {
            *words = words.as_ref().map(|words| redactor.text(words));
        }
    }
}
