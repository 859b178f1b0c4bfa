//! The post-execution plugins of a set: their options are checked at admission, they run after the agent.

use std::sync::Arc;

use serde_json::Value;

use super::loaded::LoadedPlugin;
use super::verdict::{Action, ActionRun, Capabilities, OptionsRefused};
use super::{Artifacts, Decision, Http, OutcomeView, PluginSet, TaskView, Workspace, answer};
use crate::wasm::Reach;

impl PluginSet {
    /// Whether an action's options are right, by its plugin.
    pub async fn check_options(&self, plugin: &str, options: &Value) -> Result<(), OptionsRefused> {
        let plugin = self
            .action(plugin)
            .ok_or_else(|| OptionsRefused::Unknown(self.action_names()))?;
        let call = plugin.component.check_options(&options.to_string()).await;
        answer::told(call, &self.redactor)
            .map_err(|fault| {
                plugin.counters.faulted();
                OptionsRefused::Fault(fault.for_callers(&plugin.pin.name))
            })?
            .map_err(OptionsRefused::Bad)
    }

    /// The post-execution plugins in the manifest's order.
    pub fn actions(&self) -> Vec<Action> {
        self.acting().map(|plugin| plugin.action()).collect()
    }

    /// Runs one post-execution plugin.
    pub async fn run_action(
        &self,
        plugin: &str,
        task: Arc<TaskView>,
        outcome: Arc<OutcomeView>,
        options: &Value,
        capabilities: Capabilities,
    ) -> ActionRun {
        let Some(plugin) = self.action(plugin) else {
            return self.no_such_action(plugin);
        };
        let workspace = match Workspace::open(&capabilities.workspace) {
            Ok(workspace) => workspace.guard(capabilities.redactor.as_ref().clone()),
            Err(error) => {
                tracing::error!(%error, "the workspace cannot be opened");
                let decision = Decision {
                    plugin: plugin.pin.name.clone(),
                    digest: plugin.pin.digest.clone(),
                    verdict: "error".to_owned(),
                    ..self.blank("action")
                };
                let result = Err("The workspace cannot be opened.".to_owned());
                return ActionRun {
                    result,
                    uploaded: Vec::new(),
                    decision,
                };
            }
        };
        let granted = &plugin.grants;
        let http = Arc::new(Http::new(
            &plugin.pin.name,
            task.id.as_str(),
            granted.clone(),
            &capabilities,
            plugin.pin.limits().output,
        ));
        let artifacts = Artifacts::new(
            capabilities.bucket,
            capabilities.task,
            workspace.clone(),
            capabilities.max_artifact_size,
            capabilities.max_artifacts,
        )
        .guard(capabilities.redactor.as_ref().clone());
        let artifacts = Arc::new(artifacts);
        let reach = Reach {
            task: Some(task),
            outcome: Some(outcome),
            workspace: granted.workspace.then(|| Arc::new(workspace)),
            artifacts: granted.artifacts.then(|| artifacts.clone()),
            git: capabilities.git.filter(|_| granted.git),
            http: granted.holds("http").then(|| http.clone()),
            redactor: self.redactor.clone(),
            ..Reach::default()
        };
        let call = plugin.component.run(reach, &options.to_string()).await;
        let mut decision = self.decision(plugin, "action", plugin.pin.mode, &call);
        let result = match answer::told(call, &self.redactor).and_then(answer::value) {
            Ok(result) => result,
            Err(fault) => {
                fault.record(&mut decision);
                Err(fault.for_callers(&plugin.pin.name))
            }
        };
        decision.verdict = if result.is_ok() { "ok" } else { "error" }.to_owned();
        if let Err(words) = &result {
            decision.reason.get_or_insert_with(|| words.clone());
        }
        let refused = http.refused();
        if !refused.is_empty() {
            // Whatever the plugin made of it, the operator shall find it.
            let missed = format!("asked without a grant for {}", refused.join(", "));
            let before = decision.reason.take().map(|before| format!("{before}; "));
            decision.reason = Some(before.unwrap_or_default() + &missed);
        }
        plugin.counters.count(&decision);
        ActionRun {
            result,
            uploaded: artifacts.kept(),
            decision,
        }
    }

    fn action(&self, name: &str) -> Option<&Arc<LoadedPlugin>> {
        self.acting().find(|plugin| plugin.pin.name == name)
    }

    fn action_names(&self) -> Vec<String> {
        self.acting()
            .map(|plugin| plugin.pin.name.clone())
            .collect()
    }

    fn no_such_action(&self, name: &str) -> ActionRun {
        let words = format!(
            "No action is named `{name}`; there are: {}.",
            self.action_names().join(", ")
        );
        let decision = Decision {
            plugin: name.to_owned(),
            verdict: "error".to_owned(),
            reason: Some(words.clone()),
            ..self.blank("action")
        };
        ActionRun {
            result: Err(words),
            uploaded: Vec::new(),
            decision,
        }
    }
}
