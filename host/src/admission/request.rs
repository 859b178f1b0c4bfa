//! The request's fields: `docs/reference/request.md` tells each one's meaning.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The CLI's permission modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PermissionMode {
    /// What the CLI would ask a person about is denied.
    Default,
    /// Edits inside the workspace pass.
    AcceptEdits,
    /// Nothing is changed.
    Plan,
    /// Whatever would be asked about is denied.
    DontAsk,
    /// The CLI asks about nothing; the gate decides alone.
    BypassPermissions,
}

impl PermissionMode {
    /// As the CLI and the API spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::AcceptEdits => "acceptEdits",
            Self::Plan => "plan",
            Self::DontAsk => "dontAsk",
            Self::BypassPermissions => "bypassPermissions",
        }
    }
}

/// Options of one post-execution action, as its plugin will read them.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionOptions {
    /// The plugin's name in the manifest: the key below `postExecutionActions`, where `uploadFiles`
    /// means `upload-files`.
    pub plugin: String,
    /// The key as the caller wrote it.
    pub key: String,
    /// A JSON value.
    pub options: Value,
}

/// A request that was checked and has every default applied.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "docs/reference/request.md documents each field")]
pub struct Request {
    pub prompt: String,
    /// Exactly one of the two credentials is used; the API key wins.
    pub anthropic_api_key: Option<SecretString>,
    pub anthropic_oauth_token: Option<SecretString>,
    pub system_prompt: Option<String>,
    pub append_system_prompt: Option<String>,
    pub allowed_tools: Vec<String>,
    pub disallowed_tools: Vec<String>,
    pub permission_mode: PermissionMode,
    pub max_turns: u32,
    pub timeout_minutes: u32,
    pub max_budget_usd: Option<f64>,
    pub model: Option<String>,
    pub fallback_model: Option<String>,
    pub cwd_relative: Option<String>,
    pub pre_execution_commands: Vec<String>,
    pub post_execution_actions: Vec<ActionOptions>,
    pub environment_secrets: BTreeMap<String, SecretString>,
    pub metadata: Option<Map<String, Value>>,
    pub mcp_config: Option<Value>,
    /// Name to `{frontmatter, content}`.
    pub subagents: BTreeMap<String, Value>,
    pub slash_commands: BTreeMap<String, Value>,
    pub git_repo: Option<String>,
    pub git_branch: Option<String>,
    pub git_depth: Option<u32>,
    pub ssh_key: Option<SecretString>,
    pub callback_url: Option<url::Url>,
    pub task_id: Option<crate::task::TaskId>,
    pub detach: bool,
    pub use_named_pipe: bool,
}

impl Request {
    /// Reads a request that admission wrote: every field present is of its type. Used by the job.
    pub fn from_admitted(_value: &Map<String, Value>) -> Result<Self, super::Refusal> {
        unimplemented!()
    }

    /// Every secret value in the request: credentials, SSH key, `environmentSecrets`.
    pub fn secrets(&self) -> Vec<&SecretString> {
        unimplemented!()
    }
}
