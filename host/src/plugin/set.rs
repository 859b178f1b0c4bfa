//! One immutable set of loaded plugins, in the manifest's order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::answer::{self, Judgement};
use super::load::{Loader, Pins};
use super::loaded::LoadedPlugin;
use super::manifest::OnError;
use super::modes::Enforcement;
use super::verdict::{
    Action, ActionRun, Capabilities, OptionsRefused, Question, Rejection, Ruling, Validation,
    Verdict,
};
use super::view::RealPath;
use super::{
    Artifacts, Decision, Http, OutcomeView, PluginError, TaskState, TaskView, ToolCall, Workspace,
};
use crate::bucket::Bucket;
use crate::config::Config;
use crate::redact::Redactor;
use crate::wasm::{Call, CallOutcome, Compiler, Reach, World};

/// Bytes of the agent's own names in a decision; it chooses those of MCP tools.
const NAME: usize = 256;

/// A loaded set.
#[derive(Debug)]
pub struct PluginSet {
    revision: String,
    plugins: Vec<Arc<LoadedPlugin>>,
    /// Its word counts nowhere: it is asked beside the set that a task is pinned to.
    shadow: bool,
    /// Takes the task's secrets out of what plugins say, before it is cut and goes anywhere.
    redactor: Redactor,
}

impl PluginSet {
    pub(super) fn new(revision: String, plugins: Vec<Arc<LoadedPlugin>>) -> Self {
        Self {
            revision,
            plugins,
            shadow: false,
            redactor: Redactor::default(),
        }
    }

    /// The revision that a task was pinned to, from the bucket. What its plugins say is freed of what
    /// the redactor knows.
    pub async fn pinned(
        config: &Config,
        bucket: Arc<dyn Bucket>,
        revision: &str,
        redactor: Redactor,
    ) -> Result<Arc<Self>, PluginError> {
        let compiler = Compiler::apart(&config.plugins);
        let loader = Loader::new(&config.plugins, &config.data_dir, compiler, bucket)?;
        let pins = loader.pins(revision).await?;
        let plugins = loader.load_pins(&pins, &[]).await?;
        Ok(Arc::new(Self {
            redactor,
            ..Self::new(revision.to_owned(), plugins)
        }))
    }

    /// The same set, to be asked beside another one.
    #[must_use]
    pub fn as_shadow(&self) -> Self {
        Self {
            revision: self.revision.clone(),
            plugins: self.plugins.clone(),
            shadow: true,
            redactor: self.redactor.clone(),
        }
    }

    /// Hex digest over the set's content.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    pub(super) fn pins(&self) -> Pins {
        Pins::of(&self.plugins)
    }

    /// SHA-256 of each plugin's component, by its name.
    pub(super) fn digests(&self) -> BTreeMap<String, String> {
        let pins = self.plugins.iter().map(|plugin| &plugin.pin);
        pins.map(|pin| (pin.name.clone(), pin.digest.clone()))
            .collect()
    }

    pub(super) fn plugins(&self) -> &[Arc<LoadedPlugin>] {
        &self.plugins
    }

    pub(super) fn plugin(&self, name: &str) -> Option<&Arc<LoadedPlugin>> {
        self.plugins.iter().find(|plugin| plugin.pin.name == name)
    }

    /// How many validators there are; [`PluginSet::validate`] asks the n-th.
    pub fn validators(&self) -> usize {
        self.of(World::Validator).count()
    }

    /// Asks the n-th validator; none where it is off for this task. A plugin that cannot answer counts
    /// as its `on_error` says, and so does an `n` that does not exist: as a refusal. What it says is freed
    /// of what the redactor knows: a request may repeat its secrets where anybody reads them.
    pub async fn validate(
        &self,
        n: usize,
        task: Arc<TaskView>,
        redactor: &Redactor,
    ) -> Option<(Validation, Decision)> {
        let Some(plugin) = self.of(World::Validator).nth(n) else {
            return Some(self.no_such_validator(n));
        };
        let mode = plugin.mode_for(&task);
        if mode == Enforcement::Off {
            return None;
        }
        let call = plugin
            .component
            .validate(Reach {
                task: Some(task),
                redactor: redactor.clone(),
                ..Reach::default()
            })
            .await;
        let mut decision = self.decision(plugin, "validation", mode, &call);
        let answered = answer::settle(call, redactor);
        let validation = match answered.and_then(|said| answer::validation(said, redactor)) {
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
        decision.verdict = match &validation {
            Validation::Accept => "accept",
            Validation::Amend(_) => "amend",
            Validation::Reject(rejection) => {
                decision
                    .reason
                    .get_or_insert_with(|| rejection.message.clone());
                "reject"
            }
        }
        .to_owned();
        plugin.counters.count(&decision);
        Some(match mode {
            Enforcement::Enforce => (validation, decision),
            Enforcement::Monitor | Enforcement::Off => (Validation::Accept, decision),
        })
    }

    /// Asks the tool-permission plugins in order: first deny wins, a rewrite feeds the next. Where one
    /// wants a person to decide and none denies, the first one's question is put, about the call as all
    /// of them left it.
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
        let deadline = tokio::time::Instant::now() + within;
        let mut call = Arc::new(call);
        let mut verdict = Verdict::Abstain;
        let mut question: Option<Question> = None;
        let mut decisions = Vec::new();
        for plugin in self.of(World::ToolPermission) {
            let mode = plugin.mode_for(task);
            if mode == Enforcement::Off {
                continue;
            }
            let reach = Reach {
                task: Some(task.clone()),
                call: Some(call.clone()),
                notes: Some(state.of(&plugin.pin.name)),
                redactor: self.redactor.clone(),
                ..Reach::default()
            };
            let asked = tokio::time::Instant::now();
            let answered = tokio::time::timeout_at(deadline, plugin.component.decide(reach)).await;
            let answered = answered.unwrap_or_else(|_late| Call {
                outcome: CallOutcome::TimedOut,
                cited: None,
                time: asked.elapsed(),
                memory: 0,
            });
            let mut decision = self.decision(plugin, "tool", mode, &answered);
            decision.call = Some(self.redactor.words(&call.id, NAME));
            decision.tool = Some(self.redactor.words(&call.tool, NAME));
            decision.input_sha256 = Some(hex::encode(Sha256::digest(call.input.to_string())));
            let settled = answer::settle(answered, &self.redactor);
            let judgement = settled.and_then(|opinion| answer::judgement(opinion, &self.redactor));
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
            decision.verdict = judgement.name().to_owned();
            plugin.counters.count(&decision);
            let enforced = mode == Enforcement::Enforce;
            let denied = match judgement {
                Judgement::Abstain => None,
                Judgement::Allow => {
                    if enforced && verdict == Verdict::Abstain {
                        verdict = Verdict::Allow(None);
                    }
                    None
                }
                Judgement::Rewrite(input) => {
                    if enforced {
                        verdict = Verdict::Allow(Some(input.clone()));
                        call = Arc::new(ToolCall {
                            input,
                            real: RealPath::Now,
                            ..call.as_ref().clone()
                        });
                    }
                    None
                }
                Judgement::Deny(reason) => Some(reason),
                Judgement::Ask(reason) => {
                    decision.reason.get_or_insert_with(|| reason.clone());
                    if enforced {
                        let asking = question.get_or_insert_with(|| Question::of(reason));
                        asking.plugins.push(plugin.pin.name.clone());
                    }
                    None
                }
            };
            if let Some(reason) = denied {
                decision.reason.get_or_insert_with(|| reason.clone());
                if enforced {
                    decisions.push(decision);
                    let plugin = plugin.pin.name.clone();
                    return Ruling {
                        verdict: Verdict::Deny { plugin, reason },
                        decisions,
                    };
                }
            }
            decisions.push(decision);
        }
        if let Some(question) = question {
            let rewritten = matches!(verdict, Verdict::Allow(Some(_)));
            let call = call.as_ref().clone();
            verdict = Verdict::Ask(question.about(call, rewritten));
        }
        Ruling { verdict, decisions }
    }

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
        self.of(World::PostExecution)
            .map(|plugin| plugin.action())
            .collect()
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

    fn of(&self, world: World) -> impl Iterator<Item = &Arc<LoadedPlugin>> {
        self.plugins
            .iter()
            .filter(move |plugin| plugin.pin.world == world && plugin.is_ever_asked())
    }

    fn action(&self, name: &str) -> Option<&Arc<LoadedPlugin>> {
        self.of(World::PostExecution)
            .find(|plugin| plugin.pin.name == name)
    }

    fn action_names(&self) -> Vec<String> {
        self.of(World::PostExecution)
            .map(|plugin| plugin.pin.name.clone())
            .collect()
    }

    fn decision<T>(
        &self,
        plugin: &LoadedPlugin,
        stage: &str,
        mode: Enforcement,
        call: &Call<T>,
    ) -> Decision {
        Decision {
            plugin: plugin.pin.name.clone(),
            digest: plugin.pin.digest.clone(),
            mode: mode.as_str().to_owned(),
            enforced: mode == Enforcement::Enforce,
            rule: call.cited.clone(),
            micros: u64::try_from(call.time.as_micros()).unwrap_or(u64::MAX),
            memory: call.memory,
            ..self.blank(stage)
        }
    }

    /// A decision of nobody, for what is asked of a plugin that is not in the set.
    fn blank(&self, stage: &str) -> Decision {
        Decision {
            at: Timestamp::now(),
            stage: stage.to_owned(),
            plugin: String::new(),
            digest: String::new(),
            revision: self.revision.clone(),
            mode: Enforcement::Enforce.as_str().to_owned(),
            verdict: String::new(),
            enforced: true,
            reason: None,
            rule: None,
            fault: None,
            call: None,
            tool: None,
            input_sha256: None,
            approval: None,
            micros: 0,
            memory: 0,
            shadow: self.shadow,
        }
    }

    fn no_such_validator(&self, n: usize) -> (Validation, Decision) {
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
        (Validation::Reject(rejection), decision)
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
