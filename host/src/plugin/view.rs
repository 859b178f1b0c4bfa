//! What plugins may see.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::task::{Mode, TaskId};

/// A task as plugins see it: the request by API names with every secret's value out.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// The task.
    pub id: TaskId,
    /// Which endpoint.
    pub mode: Mode,
    /// Who called.
    pub caller: String,
    /// The request with defaults applied; secret values read `"[secret]"`.
    pub request: Map<String, Value>,
    /// Names in `environmentSecrets`, and the request's other secret fields.
    pub secret_names: Vec<String>,
}

impl TaskView {
    /// Takes the secrets out of an admitted request.
    pub fn new(_id: TaskId, _mode: Mode, _caller: &str, _request: &Map<String, Value>) -> Self {
        unimplemented!()
    }
}

/// One tool call of the agent, before it runs.
#[derive(Clone, Debug)]
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
}
