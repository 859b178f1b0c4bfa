//! The request, typed: `docs/reference/request.md` tells each field's meaning, `schema` what it may
//! hold.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::plugin::ActionWhen;

/// The key of an action's options that is the host's; its plugin does not see it.
pub(super) const WHEN: &str = "when";

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

/// Whether the agent's own git can use the task's SSH key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GitAccess {
    /// By a socket that signs and never gives the key out.
    #[default]
    Agent,
    /// Not at all.
    None,
}

/// What of the repository's own agent configuration counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoConfig {
    /// Nothing.
    #[default]
    None,
    /// `CLAUDE.md`.
    Memory,
    /// Settings, hooks, MCP servers, commands, agents and `CLAUDE.md`.
    Full,
}

/// Where `environmentSecrets` are written as a file, beside the agent's environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvFile {
    /// In the agent's home.
    #[default]
    Outside,
    /// `.env` in the workspace, kept out of git.
    Workspace,
    /// Nowhere.
    None,
}

/// Options of one post-execution action, as its plugin will read them.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionOptions {
    /// The plugin's name in the manifest: the key below `postExecutionActions`, where `uploadFiles`
    /// means `upload-files`.
    pub plugin: String,
    /// The key as the caller wrote it.
    pub key: String,
    /// After which ends of the task.
    pub when: ActionWhen,
    /// A JSON object.
    pub options: Value,
}

/// A request that was checked and has every default applied.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "docs/reference/request.md documents each field"
)]
pub struct Request {
    pub prompt: String,
    /// Exactly one of the two credentials is there; the API key wins.
    pub anthropic_api_key: Option<SecretString>,
    #[serde(rename = "anthropicOAuthToken")]
    pub anthropic_oauth_token: Option<SecretString>,
    pub system_prompt: Option<String>,
    pub append_system_prompt: Option<String>,
    #[serde(default)]
    pub allowed_tools: Vec<String>,
    #[serde(default)]
    pub disallowed_tools: Vec<String>,
    pub permission_mode: PermissionMode,
    pub max_turns: u32,
    pub timeout_minutes: u32,
    pub max_budget_usd: Option<f64>,
    pub model: Option<String>,
    pub fallback_model: Option<String>,
    pub cwd_relative: Option<String>,
    #[serde(default)]
    pub pre_execution_commands: Vec<String>,
    #[serde(default, deserialize_with = "actions")]
    pub post_execution_actions: Vec<ActionOptions>,
    #[serde(default)]
    pub environment_secrets: BTreeMap<String, SecretString>,
    pub metadata: Option<Map<String, Value>>,
    pub mcp_config: Option<Value>,
    #[serde(default)]
    pub required_mcp_servers: Vec<String>,
    /// Name to `{frontmatter, content}`.
    #[serde(default)]
    pub subagents: BTreeMap<String, Value>,
    #[serde(default)]
    pub slash_commands: BTreeMap<String, Value>,
    pub git_repo: Option<String>,
    pub git_branch: Option<String>,
    pub git_depth: Option<u32>,
    #[serde(default)]
    pub git_submodules: bool,
    #[serde(default)]
    pub git_lfs: bool,
    pub ssh_key: Option<SecretString>,
    pub git_token: Option<SecretString>,
    #[serde(default)]
    pub git_access: GitAccess,
    #[serde(default)]
    pub repo_config: RepoConfig,
    #[serde(default)]
    pub env_file: EnvFile,
    pub output_schema: Option<Value>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub callback_url: Option<url::Url>,
    pub task_id: Option<crate::task::TaskId>,
    #[serde(default)]
    pub detach: bool,
    #[serde(default)]
    pub use_named_pipe: bool,
}

impl Request {
    /// Reads a request that admission wrote: every field present is of its type. Used by the job.
    pub fn from_admitted(value: &Map<String, Value>) -> Result<Self, super::Refusal> {
        // The deserialiser's own words would repeat values.
        Self::deserialize(value)
            .map_err(|_| super::Refusal::new(500, "internal", "the checked request cannot be read"))
    }

    /// The secrets that an operator can let plugins send, by the names that they are granted by.
    pub fn sendable_secrets(&self) -> BTreeMap<String, SecretString> {
        let mut secrets = self.environment_secrets.clone();
        if let Some(token) = &self.git_token {
            secrets.insert("gitToken".to_owned(), token.clone());
        }
        secrets
    }

    /// Every secret value in the request: credentials, SSH key, `environmentSecrets`, and what
    /// `mcpConfig` gives to servers.
    pub fn secrets(&self) -> Vec<SecretString> {
        let single = [
            &self.anthropic_api_key,
            &self.anthropic_oauth_token,
            &self.ssh_key,
            &self.git_token,
        ];
        single
            .into_iter()
            .flatten()
            .chain(self.environment_secrets.values())
            .cloned()
            .chain(super::mcp::secrets(self))
            .collect()
    }
}

/// Texts of a request may hold secrets that nobody declared; none of them is shown.
impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("permission_mode", &self.permission_mode)
            .field("max_turns", &self.max_turns)
            .field("timeout_minutes", &self.timeout_minutes)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// The plugin that a key of `postExecutionActions` names: `uploadFiles` is `upload-files`.
pub(super) fn plugin_name(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for (index, character) in key.chars().enumerate() {
        if character.is_ascii_uppercase() && index > 0 && !name.ends_with('-') {
            name.push('-');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}

/// The key by which callers name a plugin: `upload-files` is `uploadFiles`.
pub(crate) fn action_key(plugin: &str) -> String {
    let mut words = plugin.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut key, word| {
        let mut letters = word.chars();
        key.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        key.push_str(letters.as_str());
        key
    })
}

fn actions<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ActionOptions>, D::Error> {
    let actions = Map::<String, Value>::deserialize(from)?;
    let action = |(key, mut options): (String, Value)| {
        let when = options.as_object_mut().and_then(|o| o.shift_remove(WHEN));
        let when = when
            .filter(|when| !when.is_null())
            .map(ActionWhen::deserialize);
        Ok(ActionOptions {
            plugin: plugin_name(&key),
            key,
            when: when
                .transpose()
                .map_err(D::Error::custom)?
                .unwrap_or_default(),
            options,
        })
    };
    actions.into_iter().map(action).collect()
}

#[cfg(test)]
mod tests {
    use super::{action_key, plugin_name};

    #[test]
    fn keys_of_actions_name_plugins_in_kebab_case() {
        assert_eq!(plugin_name("uploadFiles"), "upload-files");
        assert_eq!(plugin_name("upload-files"), "upload-files");
        assert_eq!(plugin_name("git"), "git");
        assert_eq!(plugin_name("Git"), "git");
        assert_eq!(plugin_name(&action_key("upload-files")), "upload-files");
        assert_eq!(action_key("upload-files"), "uploadFiles");
    }
}
