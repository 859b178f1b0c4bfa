//! The control protocol: one JSON object a line both ways.
//!
//! A wrong shape fails open: a hook's answer that the CLI does not understand as a decision lets the
//! call run. So every answer is made here and nowhere else, and each is one of five shapes. `ask` is
//! never answered, because there are modes in which the CLI runs the call then without asking: a call
//! that a person is to decide has its hook wait for that.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{AgentTask, GateAnswer};

/// Our name for the hook.
const HOOK: &str = "gate";
/// Our name for the first request.
pub(super) const INITIALIZE: &str = "initialize";
/// Our name for the question how MCP servers stand.
pub(super) const SERVERS: &str = "servers";
/// How much longer than the gate may take, a person's time and what comes of it included, the CLI waits
/// before it blocks the call by itself. There is one time for all calls: the CLI takes no other.
const HOOK_MARGIN: Duration = Duration::from_secs(5);

/// What a line of the CLI is.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// It wants an answer that names `id`.
    Asked { id: String, question: Question },
    /// It answered our request `id`; `Err` is its own error.
    Answered {
        id: String,
        answer: Result<Value, String>,
    },
    /// Of the control protocol, but nothing to us.
    Aside,
    /// Everything else: what the caller is shown.
    Event(Event),
}

/// What the CLI asks.
#[derive(Debug, PartialEq)]
pub(super) enum Question {
    /// May this tool call run?
    Call(Box<Call>),
    /// The same, but nobody can tell of what.
    UnreadableCall,
    /// Would a person approve of this tool?
    Approval { tool: String },
    /// Something that we do not know.
    Unknown { what: String },
}

/// A tool call as the hook tells it.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Call {
    #[serde(rename = "tool_use_id")]
    pub(super) id: String,
    #[serde(rename = "tool_name")]
    pub(super) tool: String,
    #[serde(rename = "tool_input")]
    pub(super) input: Value,
    pub(super) cwd: Option<String>,
    #[serde(rename = "agent_type")]
    pub(super) subagent: Option<String>,
    pub(super) mcp_server: Option<McpServer>,
}

/// The server of an MCP tool.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct McpServer {
    pub(super) name: String,
}

/// The events that steer the run.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// A turn is over.
    Result(Box<TurnResult>),
    /// So many tasks run in the background.
    BackgroundTasks(usize),
    /// Anything else, text that is no JSON included.
    Other,
}

/// A `result` line. `subtype` alone says nothing: API errors come as `success` with `is_error`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct TurnResult {
    pub(super) subtype: String,
    /// Whoever leaves it out did not succeed.
    pub(super) is_error: Option<bool>,
    pub(super) api_error_status: Option<i64>,
    pub(super) terminal_reason: Option<String>,
    pub(super) num_turns: Option<u32>,
    pub(super) total_cost_usd: Option<f64>,
    pub(super) session_id: Option<String>,
    pub(super) result: Option<String>,
    pub(super) errors: Vec<String>,
    pub(super) structured_output: Option<Value>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    subtype: Value,
    #[serde(default)]
    request_id: Value,
    #[serde(default)]
    request: Value,
    #[serde(default)]
    response: Value,
    #[serde(default)]
    tasks: Value,
}

/// Reads one line of the CLI.
pub(super) fn read(line: &[u8]) -> Frame {
    // An array would be taken for a struct's fields in their order.
    let object = line.trim_ascii_start().starts_with(b"{");
    let Some(envelope) = object
        .then(|| serde_json::from_slice::<Envelope>(line).ok())
        .flatten()
    else {
        return Frame::Event(Event::Other);
    };
    match envelope.kind.as_str() {
        "control_request" => Frame::Asked {
            id: envelope.request_id.as_str().unwrap_or_default().to_owned(),
            question: question(&envelope.request),
        },
        "control_response" => answered(&envelope.response),
        "control_cancel_request" | "keep_alive" => Frame::Aside,
        "result" => match serde_json::from_slice(line) {
            Ok(result) => Frame::Event(Event::Result(Box::new(result))),
            // One that we cannot read proves no success; the default is an error.
            Err(_) => Frame::Event(Event::Result(Box::default())),
        },
        "system" if envelope.subtype == "background_tasks_changed" => Frame::Event(
            Event::BackgroundTasks(envelope.tasks.as_array().map_or(0, Vec::len)),
        ),
        _ => Frame::Event(Event::Other),
    }
}

fn question(request: &Value) -> Question {
    let text = |name: &str| {
        request
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    match text("subtype") {
        "hook_callback" if text("callback_id") == HOOK => {
            match request.get("input").map(Call::deserialize) {
                Some(Ok(call)) => Question::Call(Box::new(call)),
                _ => Question::UnreadableCall,
            }
        }
        "can_use_tool" => Question::Approval {
            tool: text("tool_name").to_owned(),
        },
        other => Question::Unknown {
            what: other.to_owned(),
        },
    }
}

fn answered(response: &Value) -> Frame {
    let text = |name: &str| {
        response
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let answer = match text("subtype") {
        "success" => Ok(response.get("response").cloned().unwrap_or_default()),
        _ => Err(text("error").to_owned()),
    };
    Frame::Answered {
        id: text("request_id").to_owned(),
        answer,
    }
}

/// Opens the conversation: hooks, system prompts, subagents, the answer's schema.
pub(super) fn initialize(task: &AgentTask) -> Vec<u8> {
    let patience = (2 * task.limits.decision_timeout + task.approval_timeout + HOOK_MARGIN)
        .as_secs_f64()
        .ceil();
    let mut request = Map::new();
    request.insert("subtype".into(), "initialize".into());
    // Without a matcher every call is asked about; "block" is for every fault, ours or theirs.
    let hook = json!({"hookCallbackIds": [HOOK], "timeout": patience as u64, "onFailure": "block"});
    request.insert("hooks".into(), json!({"PreToolUse": [hook]}));
    if let Some(prompt) = &task.system_prompt {
        request.insert("systemPrompt".into(), prompt.as_str().into());
    }
    if let Some(prompt) = &task.append_system_prompt {
        request.insert("appendSystemPrompt".into(), prompt.as_str().into());
    }
    if !task.subagents.is_empty() {
        request.insert("agents".into(), subagents(&task.subagents));
    }
    if let Some(schema) = &task.output_schema {
        request.insert("jsonSchema".into(), schema.clone());
    }
    line(&json!({"type": "control_request", "request_id": INITIALIZE, "request": request}))
}

/// Asks how the MCP servers stand.
pub(super) fn ask_about_servers() -> Vec<u8> {
    line(&json!({
        "type": "control_request", "request_id": SERVERS, "request": {"subtype": "mcp_status"},
    }))
}

/// Why the answer to [`initialize`] does not let us hand over the task, if it does not.
pub(super) fn missing_gate(answer: &Value) -> Option<&'static str> {
    let is_true = |name: &str| answer.get(name).and_then(Value::as_bool) == Some(true);
    if !is_true("hooks_applied") {
        return Some("the CLI did not take the hook that guards its tools");
    }
    if !is_true("hook_on_failure_supported") {
        return Some("the CLI is too old: its tools would run where the hook fails");
    }
    None
}

/// From `{frontmatter, content}` to the CLI's own definition. `tools` may be a list or, as in a
/// file's front matter, names with commas between.
fn subagents(named: &BTreeMap<String, Value>) -> Value {
    let definition = |(name, given): (&String, &Value)| {
        let front = |field: &str| given.pointer(&format!("/frontmatter/{field}"));
        let mut definition = Map::new();
        let description = front("description").and_then(Value::as_str).unwrap_or(name);
        definition.insert("description".into(), description.into());
        let prompt = given
            .get("content")
            .and_then(Value::as_str)
            .unwrap_or_default();
        definition.insert("prompt".into(), prompt.into());
        for field in ["tools", "disallowedTools"] {
            match front(field) {
                Some(Value::String(names)) => {
                    let names: Vec<&str> = names
                        .split(',')
                        .map(str::trim)
                        .filter(|name| !name.is_empty())
                        .collect();
                    definition.insert(field.into(), names.into());
                }
                Some(names @ Value::Array(_)) => {
                    definition.insert(field.into(), names.clone());
                }
                _ => {}
            }
        }
        if let Some(model @ Value::String(_)) = front("model") {
            definition.insert("model".into(), model.clone());
        }
        (name.clone(), Value::Object(definition))
    };
    Value::Object(named.iter().map(definition).collect())
}

/// The task itself. `client_composed`: no `@file` is read and no slash command run on its account.
pub(super) fn user_message(prompt: &str) -> Vec<u8> {
    line(&json!({
        "type": "user",
        "message": {"role": "user", "content": prompt},
        "parent_tool_use_id": null,
        "session_id": "",
        "client_composed": true,
    }))
}

/// Asks the CLI to drop what it does.
pub(super) fn interrupt() -> Vec<u8> {
    line(&json!({
        "type": "control_request", "request_id": "interrupt", "request": {"subtype": "interrupt"},
    }))
}

/// The gate's answer about a call.
pub(super) fn decision(id: &str, answer: &GateAnswer) -> Vec<u8> {
    let output = |fields: Value| json!({"hookSpecificOutput": fields});
    let response = match answer {
        GateAnswer::NoOpinion => json!({}),
        GateAnswer::Allow(None) => {
            output(json!({"hookEventName": "PreToolUse", "permissionDecision": "allow"}))
        }
        GateAnswer::Allow(Some(input @ Value::Object(_))) => output(json!({
            "hookEventName": "PreToolUse", "permissionDecision": "allow", "updatedInput": input,
        })),
        GateAnswer::Allow(Some(_)) => return decision(id, &readable(answer.clone())),
        GateAnswer::Deny(reason) => output(json!({
            "hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason,
        })),
    };
    success(id, &response)
}

/// The answer itself, or a denial in place of one that the CLI could not read.
pub(super) fn readable(answer: GateAnswer) -> GateAnswer {
    match answer {
        GateAnswer::Allow(Some(input)) if !input.is_object() => {
            let why = "The policy replaced the input by something that is no JSON object.";
            GateAnswer::Deny(why.to_owned())
        }
        other => other,
    }
}

/// Nobody is there to approve.
pub(super) fn no_approval(id: &str, tool: &str) -> Vec<u8> {
    let message = format!(
        "{tool} would need a person's approval; nobody is there to give it. \
         Go on without, or tell the caller to allow it by allowedTools or permissionMode."
    );
    success(id, &json!({"behavior": "deny", "message": message}))
}

/// To a question that we do not know.
pub(super) fn error(id: &str, what: &str) -> Vec<u8> {
    line(&json!({
        "type": "control_response",
        "response": {"subtype": "error", "request_id": id, "error": format!("unsupported request: {what}")},
    }))
}

fn success(id: &str, response: &Value) -> Vec<u8> {
    line(&json!({
        "type": "control_response",
        "response": {"subtype": "success", "request_id": id, "response": response},
    }))
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
