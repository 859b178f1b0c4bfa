//! Cloud Run's jobs, v2, over JSON: `:run`, executions (get, list, `:cancel`), operations. An execution
//! runs a real process ([`process`]).

mod process;
mod state;

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

pub(crate) use process::end;
pub(crate) use state::Runs;
pub use state::{ExecutionState, JobTemplate};

use state::Override;

use crate::reply::{self, Body, Code};
use crate::server::{Call, Shared};

/// Of a page of executions, where the caller does not say.
const PAGE: usize = 100;

/// What a call is to Cloud Run.
pub(crate) fn operation(call: &Call) -> Option<&'static str> {
    let path = call.path().strip_prefix("/v2/projects/")?;
    let is_post = call.method == hyper::Method::POST;
    let parts: Vec<&str> = path.split('/').collect();
    match (parts.as_slice(), is_post) {
        ([_, "locations", _, "jobs", job], true) if job.ends_with(":run") => Some("run.run"),
        ([_, "locations", _, "jobs", _, "executions"], false) => Some("run.list"),
        ([_, "locations", _, "jobs", _, "executions", _], false) => Some("run.get"),
        ([_, "locations", _, "jobs", _, "executions", one], true) if one.ends_with(":cancel") => {
            Some("run.cancel")
        }
        ([_, "locations", _, "operations", _], false) => Some("run.operation"),
        _ => None,
    }
}

/// Carries it out.
pub(crate) fn answer(shared: &Arc<Shared>, operation: &str, call: &Call) -> Response<Body> {
    let name = call.path().trim_start_matches("/v2/");
    let answered = match operation {
        "run.run" => run(shared, name.trim_end_matches(":run"), call),
        "run.list" => list(shared, name.trim_end_matches("/executions"), call),
        "run.get" => get(shared, name),
        "run.cancel" => cancel(shared, name.trim_end_matches(":cancel")),
        "run.operation" => operations(shared, name),
        _ => Err(missing(name)),
    };
    match answered {
        Ok(value) => reply::json(&value),
        Err((code, message)) => reply::error(code, &message),
    }
}

type Answered = Result<Value, (Code, String)>;

fn missing(name: &str) -> (Code, String) {
    (Code::NotFound, format!("Resource '{name}' was not found."))
}

fn run(shared: &Arc<Shared>, job: &str, call: &Call) -> Answered {
    let invalid = |error: serde_json::Error| (Code::InvalidArgument, error.to_string());
    let body: Value = serde_json::from_slice(&call.body).map_err(invalid)?;
    let overrides = Override::of(&body).map_err(|message| (Code::InvalidArgument, message))?;
    let (name, execution) = {
        let mut runs = shared.runs();
        let name = runs.begin(job, &overrides).ok_or_else(|| missing(job))?;
        let execution = runs.described(&name).ok_or_else(|| missing(&name))?;
        (name, execution)
    };
    process::start(shared, &name);
    Ok(long_running(&name, &execution, false))
}

fn list(shared: &Arc<Shared>, job: &str, call: &Call) -> Answered {
    let runs = shared.runs();
    if !runs.has_job(job) {
        return Err(missing(job));
    }
    let number = |name: &str| call.query(name).and_then(|text| text.parse().ok());
    let size = number("pageSize").filter(|size| *size > 0).unwrap_or(PAGE);
    let from = number("pageToken").unwrap_or(0);
    let names = runs.names_of(job);
    let executions: Vec<Value> = names
        .iter()
        .skip(from)
        .take(size)
        .filter_map(|name| runs.described(name))
        .collect();
    let next = (from + size < names.len()).then(|| (from + size).to_string());
    Ok(json!({"executions": executions, "nextPageToken": next.unwrap_or_default()}))
}

fn get(shared: &Arc<Shared>, name: &str) -> Answered {
    shared.runs().described(name).ok_or_else(|| missing(name))
}

fn cancel(shared: &Arc<Shared>, name: &str) -> Answered {
    let mut runs = shared.runs();
    if !runs.cancel(name).ok_or_else(|| missing(name))? {
        let message = "The execution is already completed.".to_owned();
        return Err((Code::InvalidArgument, message));
    }
    let execution = runs.described(name).ok_or_else(|| missing(name))?;
    Ok(long_running(name, &execution, false))
}

fn operations(shared: &Arc<Shared>, name: &str) -> Answered {
    let id = name.rsplit('/').next().unwrap_or_default();
    let runs = shared.runs();
    let execution = runs.named(id).ok_or_else(|| missing(name))?;
    let described = runs.described(&execution).ok_or_else(|| missing(name))?;
    let done = runs.is_over(&execution);
    let mut operation = long_running(&execution, &described, done);
    if let Some(fields) = operation.as_object_mut().filter(|_| done) {
        let (field, end) = if runs.state(&execution) == Some(ExecutionState::Succeeded) {
            ("response", typed(&described))
        } else {
            (
                "error",
                json!({"code": 2, "message": "The execution failed."}),
            )
        };
        fields.insert(field.to_owned(), end);
    }
    Ok(operation)
}

/// The operation that stands for an execution; it has the execution's own short name.
fn long_running(execution: &str, described: &Value, done: bool) -> Value {
    let place = execution.split("/jobs/").next().unwrap_or_default();
    let id = execution.rsplit('/').next().unwrap_or_default();
    json!({
        "name": format!("{place}/operations/{id}"),
        "metadata": typed(described),
        "done": done,
    })
}

fn typed(described: &Value) -> Value {
    let mut typed = described.clone();
    if let Some(fields) = typed.as_object_mut() {
        let kind = "type.googleapis.com/google.cloud.run.v2.Execution";
        fields.insert("@type".to_owned(), kind.into());
    }
    typed
}
