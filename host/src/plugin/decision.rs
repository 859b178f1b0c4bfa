//! Every decision is one line of `decisions.jsonl`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One answer of one plugin, or what a group made of its members' answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// `validation`, `tool`, `approval` (a person's answer to what plugins asked) or `action`.
    pub stage: String,
    /// The plugin's name in the manifest; absent where a group decided.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub plugin: String,
    /// Beside a plugin, the group that it is a member of: its own word does not count. Alone, the group that
    /// decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    /// Of a group that asks or denies, the members because of whom.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub causes: Vec<String>,
    /// Lower-case hex SHA-256 of the plugin's component; absent where a group decided.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub digest: String,
    /// Revision of the set.
    pub revision: String,
    /// `enforce` or `monitor`.
    pub mode: String,
    /// `accept`, `amend`, `reject`; `abstain`, `allow`, `rewrite`, `deny`, `ask`; `ok`, `error`.
    pub verdict: String,
    /// False where the mode was `monitor`, where another plugin had decided already, and of members of groups.
    pub enforced: bool,
    /// The plugin's words, or what went wrong with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The rule that the plugin cited; of a group, its expression.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// `trapped`, `timed-out`, `out-of-memory`, `too-big`, `error`; absent where it answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<String>,
    /// The tool call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call: Option<String>,
    /// Its tool.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<String>,
    /// Lower-case hex SHA-256 of the input.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input_sha256: Option<String>,
    /// Of the stage `approval`: who answered, and after how long.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approval: Option<Approved>,
    /// Time in the plugin.
    pub micros: u64,
    /// Bytes of linear memory at the call's end.
    #[serde(default)]
    pub memory: u64,
    /// True where a set was asked that was tried beside the task's own: it changed nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub shadow: bool,
}

/// Who answered a question, and after how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approved {
    /// `operator`, or `gatehouse` where nobody did in time.
    pub by: String,
    /// From the question to the answer.
    pub waited_ms: u64,
}

impl Decision {
    /// Whose it is: the plugin's name, or the group's where that decided.
    pub fn by(&self) -> &str {
        match &self.group {
            Some(group) if self.plugin.is_empty() => group,
            _ => &self.plugin,
        }
    }

    /// Whether the plugin was against it.
    pub(super) fn refuses(&self) -> bool {
        matches!(&*self.verdict, "reject" | "deny")
    }
}
