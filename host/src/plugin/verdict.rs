//! What the rest of the gateway asks plugins for and gets from them.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::Decision;
use crate::bucket::Bucket;
use crate::task::{TaskId, UploadedFile};

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
    /// Most artefacts of this run: what the task's other actions left.
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
