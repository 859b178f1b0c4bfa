//! What is kept of a task: `sessions/{id}/metadata.json`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TaskId;

/// Where a task stands, in the words callers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted; no job holds it yet.
    Pending,
    /// A job holds its lease.
    Running,
    /// The agent reported success and ended well.
    Completed,
    /// It ended otherwise; [`Record::reason`] says why.
    Failed,
    /// Somebody asked for its end.
    Cancelled,
}

impl Status {
    /// Whether nothing will ever change it again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a task that is not over is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for a free place.
    Queued,
    /// Its job is being started.
    Starting,
    /// The job opens the payload and makes the workspace.
    Preparing,
    /// The agent works.
    Agent,
    /// The agent works, and a person is to decide a tool call of its.
    WaitingApproval,
    /// The post-execution plugins run.
    Actions,
    /// The result is being written.
    Reporting,
    /// Over.
    Ended,
}

/// Why a task failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The agent reported an error, or ended without a result.
    AgentError,
    /// The model's API refused or failed.
    ApiError,
    /// `maxTurns` was reached.
    MaxTurns,
    /// `maxBudgetUsd` was reached.
    Budget,
    /// `timeoutMinutes` was reached.
    TimedOut,
    /// No event came for too long.
    Stalled,
    /// A signal ended the agent, the kernel's out-of-memory killer's included.
    Killed,
    /// The workspace could not be made or the agent not be started.
    Setup,
    /// The job died or never reported.
    Lost,
    /// The gate could not be proved, or a policy plugin could not be loaded.
    Policy,
    /// A fault of ours.
    Internal,
}

/// Which endpoint accepted the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `/run`.
    Sync,
    /// `/run-async`.
    Async,
}

/// Somebody asked for the end of the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelRequest {
    /// When it was asked.
    pub at: Timestamp,
    /// `caller`, `disconnect` or `operator`.
    pub by: String,
}

/// What the agent reported of its run, from its last `result` line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentSummary {
    /// The final text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The answer in the form that `outputSchema` asks for, of a task that completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_output: Option<Value>,
    /// Turns used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<u32>,
    /// The CLI's own estimate from list prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// The CLI's session id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Token counts as the broker metered them: `inputTokens`, `outputTokens`,
    /// `cacheReadInputTokens`, `cacheCreationInputTokens`, `requests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Value>,
    /// The CLI's `subtype` and `terminal_reason`, for those who need the detail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal_reason: Option<String>,
    /// How many calls the policy denied.
    #[serde(default)]
    pub denied_calls: u32,
}

/// A file that was kept: the compatible part of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadedFile {
    /// Relative to the workspace.
    pub original_path: String,
    /// `gs://…` or `file://…`.
    pub gcs_path: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Media type by the name's ending.
    pub content_type: String,
    /// Lower-case hex.
    pub sha256: String,
}

/// What was cloned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClonedRepository {
    /// Without credentials, as it was spoken to.
    pub url: String,
    /// None where a tag or a commit was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub branch: Option<String>,
    /// Full id; none where there was no commit yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<String>,
}

/// What became of a post-execution action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionStatus {
    /// The plugin returned a result.
    Ok,
    /// It failed.
    Error,
    /// It was not run.
    Skipped,
}

/// How a post-execution action ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionResult {
    /// Whether it ran, and how that ended.
    pub status: ActionStatus,
    /// What the plugin returned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Value>,
    /// Why it failed, or why it did not run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// How a task ended: all that [`super::Tasks::finish`] writes at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// One of the terminal ones.
    pub status: Status,
    /// Set where the status is `failed`.
    pub reason: Option<Reason>,
    /// 0, 1, 124 timed out, 130 cancelled, 137 killed, else the CLI's.
    pub exit_code: i32,
    /// A sentence for the caller; free of secrets.
    pub error: Option<String>,
    /// What the agent reported, as far as it came.
    pub agent: AgentSummary,
    /// By action name.
    pub actions: BTreeMap<String, ActionResult>,
    /// `{sha, message, pushed, branch?, recovery?}` of the action that left a commit.
    pub git_commit: Option<Map<String, Value>>,
    /// Files that were kept.
    pub uploaded_files: Vec<UploadedFile>,
    /// Number of the last event in the log, where whoever ends the task knows it.
    pub last_sequence: Option<u64>,
}

impl Ending {
    /// A failure before or beside the agent: nothing but the reason is known.
    pub fn failed(reason: Reason, error: impl Into<String>) -> Self {
        let exit_code = match reason {
            Reason::TimedOut => 124,
            Reason::Killed => 137,
            _ => 1,
        };
        Self {
            status: Status::Failed,
            reason: Some(reason),
            exit_code,
            error: Some(error.into()),
            agent: AgentSummary::default(),
            actions: BTreeMap::new(),
            git_commit: None,
            uploaded_files: Vec::new(),
            last_sequence: None,
        }
    }

    /// The end that somebody asked for.
    pub fn cancelled() -> Self {
        Self {
            status: Status::Cancelled,
            reason: None,
            exit_code: 130,
            error: Some("Task cancelled by user".to_owned()),
            ..Self::failed(Reason::Internal, "")
        }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The record of a task. It changes only by compare-and-set, and never after a terminal status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The task.
    pub task_id: TaskId,
    /// In the words callers know.
    pub status: Status,
    /// Finer than the status.
    pub phase: Phase,
    /// Set where the status is `failed`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// Which endpoint accepted it.
    pub execution_mode: Mode,
    /// Who called, `anonymous` where nobody asked.
    pub caller: String,
    /// Whose it is: nobody of another tenant sees it. Empty: the default one.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub tenant: String,
    /// Accepted at.
    pub created_at: Timestamp,
    /// The hash of the caller's `Idempotency-Key`, where it sent one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idempotency: Option<String>,
    /// A job took it at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// It ended at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<Timestamp>,
    /// Its end was asked for at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancelled_at: Option<Timestamp>,
    /// Where its events lie.
    pub logs_path: String,
    /// Where its sealed request lies until it is over.
    pub encrypted_payload_path: String,
    /// Where the report goes; the query may hold a token, so it is shown without it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub callback_url: Option<String>,
    /// The caller's own, to find tasks by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub labels: BTreeMap<String, String>,
    /// The caller's own, echoed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metadata: Option<Map<String, Value>>,
    /// `model`, `maxTurns`, `timeoutMinutes`, `permissionMode`, … as they apply: defaults and
    /// amendments of validators included; no secret among them.
    pub effective: Map<String, Value>,
    /// The revision of the plugin set that the task is pinned to.
    pub plugin_set: String,
    /// The revision that is asked beside it and changes nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shadow_set: Option<String>,
    /// Which text of the operator's is its system prompt; none where the request brought its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system_prompt_version: Option<String>,
    /// Which text of the operator's is appended to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub append_system_prompt_version: Option<String>,
    /// Tool calls that wait for a person.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub pending_approvals: u32,
    /// Whether the task outlives its follower.
    #[serde(default)]
    pub detach: bool,
    /// How to find the job: `local/{pid}-{start time}`, or the name of a Cloud Run execution.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub execution_name: Option<String>,
    /// Jobs started for it.
    #[serde(default)]
    pub attempt: u32,
    /// Somebody asked for its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancel: Option<CancelRequest>,
    /// What separated the agent from everything else, as proved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub isolation: Option<Value>,
    /// What was cloned into the workspace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repository: Option<ClonedRepository>,
    /// A sentence for the caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// See [`Ending::exit_code`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// What the agent reported.
    #[serde(default)]
    pub agent: AgentSummary,
    /// By action name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub actions: BTreeMap<String, ActionResult>,
    /// See [`Ending::git_commit`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub git_commit: Option<Map<String, Value>>,
    /// Files that were kept.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub uploaded_files: Vec<UploadedFile>,
    /// Things the caller should know that stopped nothing.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<String>,
    /// Number of the last event; set with the terminal status, so that a follower knows the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_sequence: Option<u64>,
}

impl Record {
    /// Tells the start of its job that it stands at from every other, of this task or of any.
    pub fn run_id(&self) -> String {
        format!(
            "{}.{}.{}",
            self.task_id,
            self.created_at.as_nanosecond(),
            self.attempt
        )
    }
}
