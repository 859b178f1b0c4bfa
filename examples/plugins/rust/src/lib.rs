//! Denies command lines that download something and run a shell, and writes outside of the workspace.

use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::tool_policy::{self, Decision, Task, ToolCall};
use gatehouse::plugin::host;
use serde::Deserialize;
use serde_json::Value;

wit_bindgen::generate!({ path: "wit", world: "tool-permission" });

const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "downloaders": { "type": "array", "items": { "type": "string" }, "default": ["curl", "wget"] },
    "shells": { "type": "array", "items": { "type": "string" }, "default": ["sh", "bash", "dash", "zsh"] },
    "writable": { "type": "array", "items": { "type": "string" }, "default": [] }
  },
  "additionalProperties": false
}"#;

/// Words before a command that are not it.
const BEFORE: [&str; 15] = [
    "sudo", "env", "exec", "command", "nohup", "time", "xargs", "{", "!", "if", "then", "else",
    "do", "while", "until",
];

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    downloaders: Vec<String>,
    shells: Vec<String>,
    /// Directories beside the workspace.
    writable: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            downloaders: owned(&["curl", "wget"]),
            shells: owned(&["sh", "bash", "dash", "zsh"]),
            writable: Vec::new(),
        }
    }
}

impl Settings {
    fn read(text: &str) -> Result<Self, String> {
        let settings: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match settings.writable.iter().find(|path| !path.starts_with('/')) {
            Some(path) => Err(format!("writable: `{path}` is not absolute")),
            None => Ok(settings),
        }
    }
}

struct Guard;

impl about::Guest for Guard {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Denies downloads that are run unseen, and writes outside of the workspace."
                .into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::read(&settings).map(|_| ())
    }
}

impl tool_policy::Guest for Guard {
    fn decide(_task: Task, call: ToolCall) -> Result<Decision, String> {
        let settings = Settings::read(&host::settings())?;
        match call.tool().as_str() {
            "Bash" => {
                let input: Value =
                    serde_json::from_str(&call.input()).map_err(|error| error.to_string())?;
                let line = input["command"]
                    .as_str()
                    .ok_or("a Bash call without a command")?;
                Ok(judge_line(&settings, line))
            }
            "Write" | "Edit" | "MultiEdit" | "NotebookEdit" => {
                let path = call.real_path().ok_or("a write without a path")?;
                Ok(judge_write(&settings, &call.workspace(), &path))
            }
            _ => Ok(Decision::Abstain),
        }
    }
}

fn judge_line(settings: &Settings, line: &str) -> Decision {
    let names: Vec<&str> = line
        .split(['|', ';', '&', '(', ')', '`', '\n'])
        .filter_map(command)
        .collect();
    let one_of = |list: &[String]| {
        names
            .iter()
            .copied()
            .find(|name| list.iter().any(|word| word == name))
    };
    match (one_of(&settings.downloaders), one_of(&settings.shells)) {
        (Some(downloader), Some(shell)) => {
            host::cite("downloads");
            Decision::Deny(format!(
                "`{downloader}` and `{shell}` in one command line: save the download and look at it before it is run."
            ))
        }
        _ => Decision::Abstain,
    }
}

/// The name of the command that a piece of a command line begins with.
fn command(piece: &str) -> Option<&str> {
    piece
        .split([' ', '\t', '\r'])
        .map(|word| word.trim_matches(['"', '\'']))
        .find(|word| {
            !word.is_empty()
                && !word.starts_with('-')
                && !word.contains('=')
                && !BEFORE.contains(word)
        })
        .map(|word| word.rsplit('/').next().unwrap_or(word))
}

fn judge_write(settings: &Settings, workspace: &str, path: &str) -> Decision {
    let below = |root: &str| {
        let root = root.trim_end_matches('/');
        path == root
            || path
                .strip_prefix(root)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    if below(workspace) || settings.writable.iter().any(|root| below(root)) {
        return Decision::Abstain;
    }
    host::cite("writes");
    Decision::Deny(format!("`{path}` lies outside of the workspace."))
}

export!(Guard);
