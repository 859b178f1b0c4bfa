//! Every tool call of the agent, put to the pinned plugins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use crate::agent::{Gate, GateAnswer};
use crate::plugin::{DecisionLog, PluginSet, TaskState, TaskView, ToolCall, Verdict};
use crate::task::EventLog;

/// Asks the plugins, keeps every decision, and tells followers what was decided.
#[derive(Debug)]
pub(super) struct PolicyGate {
    pub(super) plugins: Arc<PluginSet>,
    pub(super) task: Arc<TaskView>,
    pub(super) state: TaskState,
    pub(super) decisions: DecisionLog,
    pub(super) log: EventLog,
    pub(super) denied: AtomicU32,
    /// What a decision may take; less than the agent waits, so that one that comes too late is kept
    /// like every other.
    pub(super) within: Duration,
}

#[async_trait]
impl Gate for PolicyGate {
    async fn decide(&self, call: ToolCall) -> GateAnswer {
        let (id, tool) = (call.id.clone(), call.tool.clone());
        let mut ruling = self
            .plugins
            .decide(&self.task, call, &self.state, self.within)
            .await;
        // A plugin may repeat what it saw in the call, and the agent puts into calls what it knows.
        for decision in &mut ruling.decisions {
            for words in [&mut decision.reason, &mut decision.rule] {
                *words = words.as_ref().map(|words| self.log.redactor().text(words));
            }
        }
        self.decisions.add(&ruling.decisions);
        let micros: u64 = ruling
            .decisions
            .iter()
            .map(|decision| decision.micros)
            .sum();
        let last = |verdict: &str| {
            let mut decisions = ruling.decisions.iter().rev();
            let decided = decisions.find(|one| one.enforced && one.verdict == verdict)?;
            Some(decided.plugin.clone())
        };
        let (verdict, plugin, reason, answer) = match ruling.verdict {
            Verdict::Abstain => ("abstain", None, None, GateAnswer::NoOpinion),
            Verdict::Allow(None) => ("allow", last("allow"), None, GateAnswer::Allow(None)),
            Verdict::Allow(input) => ("rewrite", last("rewrite"), None, GateAnswer::Allow(input)),
            Verdict::Deny { plugin, reason } => {
                self.denied.fetch_add(1, Ordering::Relaxed);
                (
                    "deny",
                    Some(plugin),
                    Some(reason.clone()),
                    GateAnswer::Deny(reason),
                )
            }
        };
        self.log
            .say(json!({
                "event": "decision", "call": id, "tool": tool, "verdict": verdict,
                "plugin": plugin, "reason": reason, "micros": micros,
            }))
            .await;
        answer
    }
}
