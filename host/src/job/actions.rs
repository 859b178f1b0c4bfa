//! What happens once the agent's processes are gone: the post-execution plugins, in the manifest's
//! order, each with the options that the caller gave it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::admission::Request;
use crate::agent::AgentEnd;
use crate::plugin::{Capabilities, DecisionLog, OutcomeView, PluginSet, TaskView};
use crate::redact::Redactor;
use crate::task::{ActionResult, EventLog, UploadedFile};

/// Everything that actions need.
#[derive(Debug)]
pub(super) struct Actions<'a> {
    pub(super) plugins: &'a PluginSet,
    pub(super) task: Arc<TaskView>,
    pub(super) log: &'a EventLog,
    pub(super) decisions: &'a DecisionLog,
    pub(super) redactor: &'a Redactor,
    pub(super) capabilities: Capabilities,
}

/// What they left behind.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) results: BTreeMap<String, ActionResult>,
    pub(super) uploaded: Vec<UploadedFile>,
}

impl Actions<'_> {
    /// Runs each action that the request names. One that fails does not keep the others from running.
    pub(super) async fn run(&self, request: &Request, end: &AgentEnd) -> Done {
        let outcome = Arc::new(outcome(end));
        let mut done = Done::default();
        for plugin in self.plugins.actions() {
            let Some(asked) = request
                .post_execution_actions
                .iter()
                .find(|action| action.plugin == plugin)
            else {
                continue;
            };
            self.log
                .say(json!({"phase": "actions", "action": asked.key, "state": "started"}))
                .await;
            let run = self
                .plugins
                .run_action(
                    &plugin,
                    Arc::clone(&self.task),
                    Arc::clone(&outcome),
                    &asked.options,
                    self.capabilities.clone(),
                )
                .await;
            self.decisions.add(&[run.decision]);
            let result = match run.result {
                Ok(value) => ActionResult {
                    status: "ok".to_owned(),
                    value: Some(value),
                    error: None,
                },
                Err(error) => ActionResult {
                    status: "error".to_owned(),
                    value: None,
                    error: Some(self.redactor.text(&error)),
                },
            };
            self.log
                .say(json!({
                    "phase": "actions", "action": asked.key, "state": result.status,
                    "value": result.value, "error": result.error,
                }))
                .await;
            done.uploaded.extend(run.uploaded);
            done.results.insert(asked.key.clone(), result);
        }
        done
    }
}

fn outcome(end: &AgentEnd) -> OutcomeView {
    OutcomeView {
        status: end.status.as_str().to_owned(),
        reason: end.reason.and_then(|reason| {
            serde_json::to_value(reason)
                .ok()?
                .as_str()
                .map(str::to_owned)
        }),
        exit_code: (end.exit_code < 128).then_some(end.exit_code),
        result_text: end.summary.result.clone(),
        turns: end.summary.turns.unwrap_or(0),
        cost_usd: end.summary.cost_usd,
        results: BTreeMap::new(),
    }
}
