//! The scenario file.
//!
//! ```json
//! {
//!   "description": "what it is for",
//!   "conversations": [
//!     {
//!       "prompt": "write a haiku",
//!       "turns": [
//!         {"text": "I look around first.", "tools": [{"name": "Bash", "input": {"command": "ls"}}]},
//!         [
//!           {"when": {"last_result_is_error": true}, "text": "That was denied: {{last_tool_result}}"},
//!           {"text": "I see: {{last_tool_result}}"}
//!         ]
//!       ]
//!     }
//!   ]
//! }
//! ```
//!
//! The first conversation is taken whose `prompt` is part of the first user message and whose
//! `system`, where given, is part of the system prompt. A turn that is a list is one of several: the
//! first whose `when` holds. In every text and in every string of a tool's input `{{prompt}}`,
//! `{{cwd}}` and `{{last_tool_result}}` are replaced by what the request tells.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value};

/// Every conversation of one file or directory.
#[derive(Clone, Debug, Default)]
pub struct Scenarios {
    pub(crate) conversations: Vec<Conversation>,
}

/// A scenario file cannot be used.
#[derive(Debug)]
pub enum ScenarioError {
    /// It cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// It is no scenario; the message names the place.
    Malformed(PathBuf, serde_json::Error),
}

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(formatter, "{}: {error}", path.display()),
            Self::Malformed(path, error) => {
                write!(formatter, "{} is no scenario: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for ScenarioError {}

impl Scenarios {
    /// Reads one file, or every `*.json` of a directory by name.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ScenarioError> {
        let path = path.as_ref();
        let unreadable = |error| ScenarioError::Unreadable(path.to_owned(), error);
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(unreadable)?;
            files = entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()
                .map_err(unreadable)?;
            files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
            files.sort();
        }
        let mut all = Self::default();
        for file in files {
            let bytes = std::fs::read(&file)
                .map_err(|error| ScenarioError::Unreadable(file.clone(), error))?;
            let scenario: File = serde_json::from_slice(&bytes)
                .map_err(|error| ScenarioError::Malformed(file, error))?;
            all.conversations.extend(scenario.conversations);
        }
        Ok(all)
    }

    /// A scenario file's content.
    pub fn from_json(scenario: Value) -> Result<Self, serde_json::Error> {
        let scenario: File = serde_json::from_value(scenario)?;
        Ok(Self {
            conversations: scenario.conversations,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "description")]
    _description: Option<String>,
    conversations: Vec<Conversation>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conversation {
    pub(crate) prompt: String,
    pub(crate) system: Option<String>,
    #[serde(deserialize_with = "turns")]
    pub(crate) turns: Vec<Vec<Turn>>,
    /// After the last turn comes the first again.
    #[serde(default)]
    pub(crate) repeat: bool,
}

/// One answer of the model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Turn {
    pub(crate) when: Condition,
    /// Wait before the answer begins.
    pub(crate) delay_ms: u64,
    /// Instead of an answer; with `times`, only so often for the same request.
    pub(crate) error: Option<ApiError>,
    pub(crate) times: Option<u32>,
    /// No answer, ever.
    pub(crate) hang: bool,
    /// The connection breaks.
    pub(crate) cut: Option<Cut>,
    pub(crate) text: Option<String>,
    /// So often stands the text in the answer.
    pub(crate) repeat_text: Option<usize>,
    pub(crate) tools: Vec<Tool>,
    /// Counts other than those made up from the lengths.
    pub(crate) usage: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Condition {
    /// Whether one of the latest tool results is an error.
    pub(crate) last_result_is_error: Option<bool>,
    /// Part of the latest tool results.
    pub(crate) last_result_contains: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) message: String,
    /// The `retry-after` header, in seconds.
    pub(crate) retry_after: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cut {
    /// After half of the events, without an end of the body.
    MidStream,
    /// Before the first of them.
    BeforeStream,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) input: Value,
}

/// A turn or a list of alternatives. Not `untagged`: its errors would name no field.
fn turns<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<Turn>>, D::Error> {
    let turns = Vec::<Value>::deserialize(from)?;
    turns
        .into_iter()
        .enumerate()
        .map(|(number, turn)| {
            let alternatives = match turn {
                Value::Array(alternatives) => alternatives,
                turn => vec![turn],
            };
            alternatives
                .into_iter()
                .map(serde_json::from_value)
                .collect::<Result<_, _>>()
                .map_err(|error| D::Error::custom(format!("turn {}: {error}", number + 1)))
        })
        .collect()
}
