//! What plugins may see.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::path;
use crate::task::{Mode, TaskId};

/// What stands in a secret value's place.
const SECRET: &str = "[secret]";
/// Fields of the request that are one secret each.
const SECRET_FIELDS: [&str; 4] = [
    "anthropicApiKey",
    "anthropicOAuthToken",
    "sshKey",
    "gitToken",
];
/// Parts of `mcpConfig` whose values are given to servers as credentials.
const SECRET_PARTS: [&str; 2] = ["env", "headers"];

/// A task as plugins see it: the request by API names with every secret's value out.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// The task.
    pub id: TaskId,
    /// Which endpoint.
    pub mode: Mode,
    /// Who called.
    pub caller: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The request with defaults applied; secret values read `"[secret]"`.
    pub request: Map<String, Value>,
    /// Names in `environmentSecrets`, and the request's other secret fields.
    pub secret_names: Vec<String>,
}

impl TaskView {
    /// Takes the secrets out of an admitted request.
    pub fn new(
        id: TaskId,
        mode: Mode,
        caller: &str,
        created_at: Timestamp,
        request: &Map<String, Value>,
    ) -> Self {
        let mut request = request.clone();
        let mut secret_names = Vec::new();
        for field in SECRET_FIELDS {
            if let Some(value) = request.get_mut(field).filter(|value| !value.is_null()) {
                *value = SECRET.into();
                secret_names.push(field.to_owned());
            }
        }
        match request.get_mut("environmentSecrets") {
            Some(Value::Object(secrets)) => {
                for (name, value) in secrets {
                    *value = SECRET.into();
                    secret_names.push(name.clone());
                }
            }
            Some(Value::Null) | None => {}
            Some(other) => *other = SECRET.into(),
        }
        if let Some(config) = request.get_mut("mcpConfig") {
            mask_parts(config);
        }
        for field in ["gitRepo", "callbackUrl"] {
            if let Some(Value::String(url)) = request.get_mut(field) {
                mask_url(url);
            }
        }
        Self {
            id,
            mode,
            caller: caller.to_owned(),
            created_at,
            request,
            secret_names,
        }
    }
}

/// Masks what stands below `env` and `headers`, at any depth. The depth of a request is bounded by
/// the JSON parser.
fn mask_parts(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if SECRET_PARTS.contains(&name.as_str()) {
                    mask_all(member);
                } else {
                    mask_parts(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_parts),
        _ => {}
    }
}

fn mask_all(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(mask_all),
        Value::Array(items) => items.iter_mut().for_each(mask_all),
        Value::Null => {}
        other => *other = SECRET.into(),
    }
}

/// Credentials before the host and everything in the query: both are places where tokens are put.
fn mask_url(url: &mut String) {
    let Ok(mut parsed) = url::Url::parse(url) else {
        return;
    };
    let named = !parsed.username().is_empty() && parsed.scheme() != "ssh";
    if parsed.password().is_none() && !named && parsed.query().is_none() {
        return;
    }
    // Neither fails where there was one before.
    if parsed.password().is_some() {
        let _ = parsed.set_password(Some("secret"));
    }
    if named {
        let _ = parsed.set_username("secret");
    }
    if parsed.query().is_some() {
        parsed.set_query(Some(SECRET));
    }
    *url = parsed.into();
}

/// One tool call of the agent, before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The CLI's id of the call.
    pub id: String,
    /// `Bash`, `Write`, `mcp__server__tool`, …
    pub tool: String,
    /// A JSON object.
    pub input: Value,
    /// Root of the workspace.
    pub workspace: PathBuf,
    /// Where the agent works.
    pub cwd: PathBuf,
    /// The subagent that calls, if one does.
    pub subagent: Option<String>,
    /// The MCP server of the tool, if it is one.
    pub mcp_server: Option<String>,
    /// How many calls of this task came before.
    pub index: u32,
    /// What [`ToolCall::real_path`] goes by.
    pub real: RealPath,
}

/// Where the path of a call really leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RealPath {
    /// To be looked at whenever it is asked for.
    #[default]
    Now,
    /// It was looked at before the call ran.
    Was(Option<PathBuf>),
    /// It could not be looked at then.
    Unknown,
}

impl ToolCall {
    /// The file or directory that the input names, absolute and freed of `.` and `..`.
    pub fn path(&self) -> Option<PathBuf> {
        self.named_path()
            .map(|path| path::absolute(&self.cwd, path))
    }

    /// The same with every symbolic link resolved that stands there now, also one that leads to
    /// nothing yet: writing to it would make its target.
    pub fn real_path(&self) -> io::Result<Option<PathBuf>> {
        match &self.real {
            RealPath::Now => {}
            RealPath::Was(path) => return Ok(path.clone()),
            RealPath::Unknown => return Err(io::Error::other("the path cannot be resolved")),
        }
        self.path().map(|path| path::real(&path)).transpose()
    }

    /// The same call with its real path looked at now: whoever judges it later sees what was there before it
    /// ran.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.real = match self.real_path() {
            Ok(path) => RealPath::Was(path),
            Err(_) => RealPath::Unknown,
        };
        self
    }

    /// The input's key by the tool, so that a second, harmless path beside the one that the tool
    /// reads deceives nobody.
    fn named_path(&self) -> Option<&Path> {
        let keys: &[&str] = match self.tool.as_str() {
            "Read" | "Write" | "Edit" | "MultiEdit" => &["file_path"],
            "NotebookEdit" | "NotebookRead" => &["notebook_path"],
            "Glob" | "Grep" | "LS" => &["path"],
            _ => &["file_path", "path", "notebook_path"],
        };
        keys.iter()
            .find_map(|key| self.input.get(key)?.as_str())
            .map(Path::new)
    }
}

/// How the agent's run ended, for post-execution plugins.
#[derive(Clone, Debug)]
pub struct OutcomeView {
    /// `completed`, `failed` or `cancelled`.
    pub status: String,
    /// As in the record.
    pub reason: Option<String>,
    /// None where a signal or a limit ended it.
    pub exit_code: Option<i32>,
    /// The final text.
    pub result_text: Option<String>,
    /// Turns used.
    pub turns: u32,
    /// The CLI's estimate.
    pub cost_usd: Option<f64>,
    /// What the actions before this one returned, by their plugins' names.
    pub results: BTreeMap<String, Value>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    fn view(request: Value) -> TaskView {
        let request = request.as_object().unwrap();
        TaskView::new(
            "t".parse().unwrap(),
            Mode::Sync,
            "c",
            Timestamp::UNIX_EPOCH,
            request,
        )
    }

    #[test]
    fn no_secret_value_is_left_and_every_name_is_told() {
        let view = view(json!({
            "prompt": "p",
            "anthropicApiKey": "s3cret", "anthropicOAuthToken": "s3cret", "sshKey": "s3cret",
            "gitToken": "s3cret", "environmentSecrets": {"A": "s3cret", "B": "s3cret"},
            "mcpConfig": {"mcpServers": {
                "x": {"command": "c", "env": {"TOKEN": "s3cret", "N": [{"deep": "s3cret"}, 53]}},
                "y": {"url": "https://y", "headers": {"Authorization": "s3cret"}},
            }},
            "gitRepo": "https://user:s3cret@host/repo.git",
            "callbackUrl": "https://host/hook?token=s3cret",
        }));
        let text = serde_json::to_string(&view.request).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
        assert!(!text.contains("53"), "{text}");
        assert_eq!(view.request["prompt"], "p");
        assert_eq!(view.request["anthropicApiKey"], "[secret]");
        assert_eq!(view.request["environmentSecrets"]["A"], "[secret]");
        assert_eq!(
            view.request["mcpConfig"]["mcpServers"]["y"]["url"],
            "https://y"
        );
        assert_eq!(
            view.request["gitRepo"],
            "https://secret:secret@host/repo.git"
        );
        assert_eq!(
            view.secret_names,
            [
                "anthropicApiKey",
                "anthropicOAuthToken",
                "sshKey",
                "gitToken",
                "A",
                "B"
            ]
        );
    }

    #[test]
    fn what_holds_no_secret_is_left_as_it_was() {
        let request = json!({
            "prompt": "p", "sshKey": null, "gitRepo": "git@github.com:a/b.git",
            "callbackUrl": "https://host/hook", "mcpConfig": {"mcpServers": {}},
        });
        let view = view(request.clone());
        assert_eq!(Value::Object(view.request), request);
        assert!(view.secret_names.is_empty());
    }

    #[test]
    fn secrets_of_a_wrong_type_are_masked_too() {
        let view = view(json!({"sshKey": ["s3cret"], "environmentSecrets": ["s3cret"]}));
        assert!(
            !serde_json::to_string(&view.request)
                .unwrap()
                .contains("s3cret")
        );
    }

    fn call(tool: &str, input: Value, cwd: &Path) -> ToolCall {
        ToolCall {
            id: "1".into(),
            tool: tool.into(),
            input,
            workspace: cwd.into(),
            cwd: cwd.into(),
            subagent: None,
            mcp_server: None,
            index: 0,
            real: RealPath::Now,
        }
    }

    #[test]
    fn the_path_is_the_one_that_the_tool_reads() {
        let cwd = Path::new("/work");
        let path = |tool, input| call(tool, input, cwd).path();
        assert_eq!(
            path("Write", json!({"file_path": "a/../b"})),
            Some("/work/b".into())
        );
        assert_eq!(
            path("Grep", json!({"file_path": "x", "path": "/etc"})),
            Some("/etc".into())
        );
        assert_eq!(
            path("NotebookEdit", json!({"notebook_path": "n"})),
            Some("/work/n".into())
        );
        assert_eq!(
            path("mcp__fs__read", json!({"path": "~/x"})),
            Some("/work/~/x".into())
        );
        assert_eq!(path("Bash", json!({"command": "ls /etc"})), None);
        assert_eq!(path("Read", json!({"file_path": 7})), None);
    }
}
