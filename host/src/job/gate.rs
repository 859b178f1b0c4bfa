//! Every tool call of the agent, put to the pinned plugins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::agent::{Gate, GateAnswer};
use crate::plugin::{
    Decision, Input, Journal, PluginSet, RecordedCall, RecordedTask, TaskState, TaskView, ToolCall,
    Verdict,
};
use crate::redact::Redactor;
use crate::task::EventLog;

/// Calls that are answered and not written down yet; while there are more, no answer is given.
const MOST_UNRECORDED: usize = 64;

/// Asks the plugins; a [`Recorder`] keeps what they decided.
#[derive(Debug)]
pub(super) struct PolicyGate {
    plugins: Arc<PluginSet>,
    task: Arc<TaskView>,
    state: TaskState,
    /// What a decision may take; less than the agent waits, so that one that comes too late is kept
    /// like every other.
    within: Duration,
    denied: AtomicU32,
    /// Whether calls are wanted after they are answered.
    keeps_calls: bool,
    /// The task's.
    pub(super) log: EventLog,
    answered: mpsc::Sender<Answered>,
    recording: JoinHandle<()>,
}

impl PolicyGate {
    pub(super) fn open(
        plugins: Arc<PluginSet>,
        task: Arc<TaskView>,
        within: Duration,
        recorder: Recorder,
    ) -> Self {
        let (answered, unrecorded) = mpsc::channel(MOST_UNRECORDED);
        Self {
            plugins,
            task,
            state: TaskState::default(),
            within,
            denied: AtomicU32::new(0),
            keeps_calls: recorder.inputs.is_some() || recorder.beside.is_some(),
            log: recorder.log.clone(),
            answered,
            recording: tokio::spawn(recorder.run(unrecorded)),
        }
    }

    /// Returns once every answer is in both logs; how many were denials.
    pub(super) async fn close(self) -> u32 {
        drop(self.answered);
        if let Err(error) = self.recording.await {
            tracing::error!(%error, "decisions were lost");
        }
        self.denied.into_inner()
    }
}

#[async_trait]
impl Gate for PolicyGate {
    /// The answer does not wait for the logs, only for a place among those who wait for them.
    async fn decide(&self, call: ToolCall) -> GateAnswer {
        let (id, tool) = (call.id.clone(), call.tool.clone());
        let call = if self.keeps_calls {
            call.settled()
        } else {
            call
        };
        let kept = self.keeps_calls.then(|| call.clone());
        let ruling = self
            .plugins
            .decide(&self.task, call, &self.state, self.within)
            .await;
        let (verdict, denial, answer) = match ruling.verdict {
            Verdict::Abstain => ("abstain", None, GateAnswer::NoOpinion),
            Verdict::Allow(None) => ("allow", None, GateAnswer::Allow(None)),
            Verdict::Allow(input) => ("rewrite", None, GateAnswer::Allow(input)),
            Verdict::Deny { plugin, reason } => {
                self.denied.fetch_add(1, Ordering::Relaxed);
                let denial = Some((plugin, reason.clone()));
                ("deny", denial, GateAnswer::Deny(reason))
            }
        };
        let answered = Answered {
            id,
            tool,
            call: kept,
            verdict,
            denial,
            decisions: ruling.decisions,
        };
        // The other side ends only after this one.
        if self.answered.send(answered).await.is_err() {
            tracing::error!("a decision cannot be kept");
        }
        answer
    }
}

/// A call and what was said to it.
#[derive(Debug)]
struct Answered {
    id: String,
    tool: String,
    /// As the agent made it, where it is kept or asked about again.
    call: Option<ToolCall>,
    verdict: &'static str,
    /// By which plugin, and why.
    denial: Option<(String, String)>,
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
    async fn run(self, mut unrecorded: mpsc::Receiver<Answered>) {
        self.keep(|| Input::Task(RecordedTask::from(&*self.task)));
        while let Some(answered) = unrecorded.recv().await {
            self.record(answered).await;
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
        let (plugin, reason) = match denial {
            Some((plugin, reason)) => (Some(plugin), Some(reason)),
            None => {
                let mut last = decisions.iter().rev();
                let decided = last.find(|one| one.enforced && one.verdict == verdict);
                let plugin = decided.filter(|_| verdict != "abstain");
                (plugin.map(|decision| decision.plugin.clone()), None)
            }
        };
        self.log
            .say(json!({
                "event": "decision", "call": id, "tool": tool, "verdict": verdict,
                "plugin": plugin, "reason": reason, "micros": micros,
            }))
            .await;
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
