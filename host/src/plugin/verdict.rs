//! What the rest of the gateway asks plugins for and gets from them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Decision, GitRepository, HttpClient, ToolCall};
use crate::bucket::Bucket;
use crate::redact::Redactor;
use crate::task::{Status, TaskId, UploadedFile};

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

/// What became of asking one validator, or one group of them.
#[derive(Clone, Debug)]
pub struct Validated {
    /// What counts.
    pub validation: Validation,
    /// For the log of decisions.
    pub decision: Decision,
    /// Of a group, what its members said.
    pub members: Vec<Decision>,
}

impl Validated {
    /// All of it for the log, in order.
    pub fn decisions(self) -> impl Iterator<Item = Decision> {
        self.members.into_iter().chain([self.decision])
    }
}

/// The answer to a tool call.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// No plugin had an opinion: the agent's own rules decide.
    Abstain,
    /// It may run, with this input where one was rewritten.
    Allow(Option<Value>),
    /// It may not. The reason is shown to the agent; whose it is stands in the decisions.
    Deny(String),
    /// A person decides.
    Ask(Box<ToApprove>),
}

/// What plugins want a person to decide, while the rest of them is still to be asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Question {
    /// Of the first.
    reason: String,
    /// All that asked, plugins and groups.
    pub(super) plugins: Vec<String>,
}

impl Question {
    pub(super) fn of(reason: String) -> Self {
        Self {
            reason,
            plugins: Vec::new(),
        }
    }

    pub(super) fn about(self, call: ToolCall, rewritten: bool) -> Box<ToApprove> {
        Box::new(ToApprove {
            plugins: self.plugins,
            reason: self.reason,
            call,
            rewritten,
        })
    }
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq)]
pub struct ToApprove {
    /// The plugins and groups that ask, in the manifest's order.
    pub plugins: Vec<String>,
    /// The words of the first.
    pub reason: String,
    /// What would run, after every rewrite.
    pub call: ToolCall,
    /// Whether that is something else than the agent asked for.
    pub rewritten: bool,
}

/// A verdict and the decisions that led to it.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// The answer.
    pub verdict: Verdict,
    /// One per plugin asked, and after its members one per group.
    pub decisions: Vec<Decision>,
}

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

/// After which ends of a task an action runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionWhen {
    /// It completed.
    #[default]
    Success,
    /// It failed.
    Failure,
    /// Any, cancelled ones included.
    Always,
}

impl ActionWhen {
    /// Whether that is so for a task that ended like this.
    pub fn fits(self, status: Status) -> bool {
        match self {
            Self::Success => status == Status::Completed,
            Self::Failure => status == Status::Failed,
            Self::Always => true,
        }
    }

    /// As callers and operators write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Always => "always",
        }
    }
}

/// An action that the operator carries out for every task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StandingAction {
    /// After which ends.
    pub when: ActionWhen,
    /// As its plugin takes them.
    pub options: Value,
}

/// A post-execution plugin, for those who decide whether it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Its name in the manifest.
    pub plugin: String,
    /// Whether it is of no use without the request's repository.
    pub needs_repository: bool,
    /// Whether it may commit and push.
    pub commits: bool,
    /// Whether a task fails where it does.
    pub required: bool,
    /// Set where it is the operator's own.
    pub standing: Option<StandingAction>,
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
    /// Most artefacts of this run: what the task's other actions left.
    pub max_artifacts: u32,
    /// The task's repository, where it has one.
    pub git: Option<Arc<dyn GitRepository>>,
    /// Carries requests.
    pub http: Arc<dyn HttpClient>,
    /// What requests may carry, by the names that operators grant.
    pub secrets: Arc<BTreeMap<String, SecretString>>,
    /// Takes every secret out of what comes back.
    pub redactor: Arc<Redactor>,
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
