//! One immutable set of loaded plugins, in the manifest's order.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::{Decision, OutcomeView, PluginError, TaskView, ToolCall};
use crate::bucket::Bucket;
use crate::config::Config;
use crate::task::{TaskId, UploadedFile};

/// A loaded set.
#[derive(Debug)]
pub struct PluginSet {}

/// What the validators made of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Validation {
    /// Nothing against it.
    Accept,
    /// A JSON Merge Patch on the request, to be checked again.
    Amend(Value),
    /// It is refused.
    Reject(Rejection),
}

/// A validator's refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// Its stable code.
    pub code: String,
    /// What was expected.
    pub message: String,
    /// The field at fault.
    pub field: Option<String>,
    /// A JSON object.
    pub details: Option<Value>,
}

/// The answer to a tool call.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// No plugin had an opinion: the agent's own rules decide.
    Abstain,
    /// It may run, with this input where one was rewritten.
    Allow(Option<Value>),
    /// It may not. The reason is shown to the agent.
    Deny {
        /// Which plugin.
        plugin: String,
        /// Why.
        reason: String,
    },
}

/// A verdict and the decisions that led to it.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// The answer.
    pub verdict: Verdict,
    /// One per plugin asked.
    pub decisions: Vec<Decision>,
}

/// Counters and notes of one task, by plugin; in the job's memory, bounded.
#[derive(Debug, Default)]
pub struct TaskState {}

/// Why an action's options were not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionsRefused {
    /// No post-execution plugin has this name; the names that exist.
    Unknown(Vec<String>),
    /// The plugin's own words.
    Bad(String),
    /// The plugin could not answer.
    Fault(String),
}

/// What a post-execution plugin may reach, within its grants.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Root of the workspace.
    pub workspace: PathBuf,
    /// Where artefacts go.
    pub bucket: Arc<dyn Bucket>,
    /// Whose artefacts.
    pub task: TaskId,
    /// Largest artefact.
    pub max_artifact_size: u64,
    /// Most artefacts of the task, over all actions.
    pub max_artifacts: u32,
}

/// What an action did.
#[derive(Clone, Debug)]
pub struct ActionRun {
    /// The plugin's value, or why it failed.
    pub result: Result<Value, String>,
    /// Files that were kept, also where it failed afterwards.
    pub uploaded: Vec<UploadedFile>,
    /// For the log of decisions.
    pub decision: Decision,
}

impl PluginSet {
    /// The revision that a task was pinned to, from the bucket.
    pub async fn pinned(_config: &Config, _bucket: Arc<dyn Bucket>, _revision: &str) -> Result<Arc<Self>, PluginError> {
        unimplemented!()
    }

    /// Hex digest over the set's content.
    pub fn revision(&self) -> &str {
        unimplemented!()
    }

    /// How many validators there are; [`PluginSet::validate`] asks the n-th.
    pub fn validators(&self) -> usize {
        unimplemented!()
    }

    /// Asks the n-th validator. A plugin that cannot answer counts as its `on_error` says.
    pub async fn validate(&self, _n: usize, _task: Arc<TaskView>) -> (Validation, Decision) {
        unimplemented!()
    }

    /// Asks the tool-permission plugins in order: first deny wins, a rewrite feeds the next.
    pub async fn decide(&self, _task: &Arc<TaskView>, _call: ToolCall, _state: &TaskState) -> Ruling {
        unimplemented!()
    }

    /// Whether an action's options are right, by its plugin.
    pub async fn check_options(&self, _plugin: &str, _options: &Value) -> Result<(), OptionsRefused> {
        unimplemented!()
    }

    /// Names of the post-execution plugins in the manifest's order.
    pub fn actions(&self) -> Vec<String> {
        unimplemented!()
    }

    /// Runs one post-execution plugin.
    pub async fn run_action(
        &self,
        _plugin: &str,
        _task: Arc<TaskView>,
        _outcome: Arc<OutcomeView>,
        _options: &Value,
        _capabilities: Capabilities,
    ) -> ActionRun {
        unimplemented!()
    }
}
