//! What goes into a call, as a case states it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cases::Case;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::plugin::{Notes, OutcomeView, RealPath, TaskView, ToolCall};
use crate::task::Mode;
use crate::wasm::{StatedPaths, World};

/// Where a case's agent works that does not say.
const WORKSPACE: &str = "/work/task";
/// When a case's task was accepted that does not say.
const CREATED_AT: &str = "2026-11-24T09:30:00Z";

/// Everything that a plugin of any world can be asked about.
#[derive(Clone, Debug)]
pub struct CaseInput {
    pub(super) task: Arc<TaskView>,
    pub(super) call: Arc<ToolCall>,
    pub(super) stated: Option<StatedPaths>,
    /// Kept over the calls that one input is used for.
    pub(super) notes: Arc<Notes>,
    pub(super) outcome: Arc<OutcomeView>,
    pub(super) options: Value,
    pub(super) workspace: Option<PathBuf>,
    pub(super) answers: Vec<Value>,
    pub(super) host: Value,
}

/// `task.json`: the request, and what the gateway would know beside it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    #[serde(default = "task_id")]
    id: String,
    #[serde(default = "sync")]
    mode: Mode,
    #[serde(default = "anonymous")]
    caller: String,
    created_at: Option<Timestamp>,
    #[serde(default)]
    secret_names: Vec<String>,
    #[serde(flatten)]
    request: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CallText {
    #[serde(default)]
    id: Option<String>,
    tool: String,
    #[serde(default = "empty")]
    input: Value,
    workspace: Option<PathBuf>,
    cwd: Option<PathBuf>,
    path: Option<PathBuf>,
    real_path: Option<PathBuf>,
    mcp_server: Option<String>,
    subagent: Option<String>,
    #[serde(default)]
    index: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct OutcomeText {
    status: Option<String>,
    reason: Option<String>,
    exit_code: Option<i32>,
    result_text: Option<String>,
    turns: u32,
    cost_usd: Option<f64>,
    results: BTreeMap<String, Value>,
}

fn task_id() -> String {
    "t-1".to_owned()
}

fn sync() -> Mode {
    Mode::Sync
}

fn anonymous() -> String {
    "anonymous".to_owned()
}

fn empty() -> Value {
    Value::Object(Map::new())
}

impl CaseInput {
    /// The parts that a case of this world can have, beside `settings` and `expected`.
    pub fn parts(world: World) -> &'static [&'static str] {
        match world {
            World::Validator => &["task"],
            World::ToolPermission => &["task", "call"],
            World::PostExecution => &["task", "outcome", "options", "answers", "host"],
        }
    }

    /// Reads what a plugin of this world is asked about. An error names the part that is wrong.
    pub fn of(world: World, case: &Case) -> Result<Self, String> {
        let known = Self::parts(world);
        for part in case.parts()? {
            if !known.contains(&&*part) && part != "settings" && part != "expected" {
                return Err(format!(
                    "`{part}` is no part of a case for {}; these are: {}, settings, expected",
                    world.as_str(),
                    known.join(", ")
                ));
            }
        }
        let task: Task = read(case, "task")?;
        let (call, stated) = match world {
            World::ToolPermission => tool_call(read(case, "call")?),
            World::Validator | World::PostExecution => tool_call(CallText::default()),
        };
        let workspace = case.folder().map(|folder| folder.join("workspace"));
        Ok(Self {
            task: Arc::new(view(task)?),
            call: Arc::new(call),
            stated,
            notes: Arc::default(),
            outcome: Arc::new(outcome(read(case, "outcome")?)),
            options: case.read("options")?,
            workspace: workspace.filter(|folder| folder.is_dir()),
            answers: match case.find("answers")? {
                None => Vec::new(),
                Some(Value::Array(answers)) => answers,
                Some(_) => return Err("answers: is no array".to_owned()),
            },
            host: case.read("host")?,
        })
    }
}

impl Default for CallText {
    fn default() -> Self {
        Self {
            id: None,
            tool: String::new(),
            input: empty(),
            workspace: None,
            cwd: None,
            path: None,
            real_path: None,
            mcp_server: None,
            subagent: None,
            index: 0,
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(case: &Case, part: &str) -> Result<T, String> {
    serde_json::from_value(case.read(part)?).map_err(|error| format!("{part}: {error}"))
}

fn view(task: Task) -> Result<TaskView, String> {
    let id = task
        .id
        .parse()
        .map_err(|_| format!("task: `{}` is no id of a task", task.id))?;
    let at = match task.created_at {
        Some(at) => at,
        None => CREATED_AT
            .parse()
            .map_err(|error| format!("task: createdAt: {error}"))?,
    };
    let mut view = TaskView::new(id, task.mode, &task.caller, at, &task.request);
    for name in task.secret_names {
        if !view.secret_names.contains(&name) {
            view.secret_names.push(name);
        }
    }
    Ok(view)
}

fn tool_call(call: CallText) -> (ToolCall, Option<StatedPaths>) {
    let stated = (call.path.is_some() || call.real_path.is_some()).then(|| StatedPaths {
        real_path: call.real_path.or_else(|| call.path.clone()),
        path: call.path,
    });
    let workspace = call.workspace.unwrap_or_else(|| WORKSPACE.into());
    let call = ToolCall {
        real: RealPath::Now,
        id: call.id.unwrap_or_else(|| "toolu_1".to_owned()),
        tool: call.tool,
        input: call.input,
        cwd: call.cwd.unwrap_or_else(|| workspace.clone()),
        workspace,
        subagent: call.subagent,
        mcp_server: call.mcp_server,
        index: call.index,
    };
    (call, stated)
}

fn outcome(text: OutcomeText) -> OutcomeView {
    let status = text.status.unwrap_or_else(|| "completed".to_owned());
    OutcomeView {
        exit_code: text.exit_code.or((status == "completed").then_some(0)),
        status,
        reason: text.reason,
        result_text: text.result_text,
        turns: text.turns,
        cost_usd: text.cost_usd,
        results: text.results,
    }
}
