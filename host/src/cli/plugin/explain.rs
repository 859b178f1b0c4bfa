//! `gatehouse plugin explain`: one decision, as an operator answers for it: on what, by whom, by which rule
//! and by which bytes.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{Gateway, with_query};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The task
    task: String,
    /// The call, or the beginning of its id; without it every call that was refused
    call: Option<String>,
}

pub(super) async fn run(
    options: &Options,
    as_json: bool,
    gateway: &Gateway,
) -> anyhow::Result<ExitCode> {
    let task = &options.task;
    let decisions = gateway.lines(&format!("/tasks/{task}/decisions")).await?;
    let chosen = chosen(&decisions, options.call.as_deref())?;
    // They may not be kept; what was decided stands either way.
    let inputs = gateway.lines(&format!("/tasks/{task}/inputs")).await.ok();
    let mut told = Vec::new();
    for call in chosen {
        let of_call: Vec<&Value> = decisions
            .iter()
            .filter(|decision| word(decision, "call") == call)
            .collect();
        let input = inputs.iter().flatten().find_map(|line| {
            let kept = line.get("call")?;
            (word(kept, "id") == call).then(|| kept.clone())
        });
        told.push(json!({ "call": call, "input": input, "decisions": of_call }));
    }
    if as_json {
        println!("{:#}", Value::Array(told));
    } else if told.is_empty() {
        println!("no call of {task} was refused");
    } else {
        for call in &told {
            print!("{}", text(call, inputs.is_some()));
        }
        for revision in revisions(&decisions) {
            println!(
                "gatehouse plugin replay {task} --revision {revision}   asks the same bytes again"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The ids of the calls that are wanted, in the order in which they were made.
fn chosen(decisions: &[Value], call: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut chosen: Vec<String> = Vec::new();
    for decision in decisions {
        let id = word(decision, "call");
        let wanted = match call {
            Some(call) => id.starts_with(call),
            None => {
                let refused = matches!(word(decision, "verdict"), "deny" | "ask");
                let counts = decision.get("shadow").is_none() && !is_a_members(decision);
                refused && counts
            }
        };
        if wanted && id != "-" && !chosen.iter().any(|known| known == id) {
            chosen.push(id.to_owned());
        }
    }
    match call {
        Some(call) if chosen.is_empty() => bail!("the task has no decision about a call `{call}`"),
        _ => Ok(chosen),
    }
}

fn text(call: &Value, kept: bool) -> String {
    let decisions = call.get("decisions").and_then(Value::as_array);
    let tool = decisions.and_then(|decisions| decisions.first());
    let tool = tool.map_or("-", |decision| word(decision, "tool"));
    let mut lines = vec![format!("{tool} {}", word(call, "call"))];
    match call.pointer("/input/input") {
        Some(input) => lines.push(format!("  input   {input}")),
        None if kept => lines.push("  input   it is not among those that were kept".to_owned()),
        None => {
            lines.push("  input   not kept (plugins.keep_inputs), or not for you to see".to_owned())
        }
    }
    for path in ["cwd", "realPath"] {
        let value = call
            .pointer(&format!("/input/{path}"))
            .and_then(Value::as_str);
        lines.extend(value.map(|value| format!("  {path:<7} {value}")));
    }
    for decision in decisions.into_iter().flatten() {
        let beside = match decision.get("shadow") {
            Some(Value::Bool(true)) => " beside",
            _ => "",
        };
        let counts = match decision.get("enforced") {
            Some(Value::Bool(true)) => String::new(),
            _ if is_a_members(decision) => format!(" (in {})", word(decision, "group")),
            _ => " (does not count)".to_owned(),
        };
        let who = match decision.get("plugin").and_then(Value::as_str) {
            Some(plugin) => format!(
                "{plugin}{beside}{counts}, {} us, sha256 {}",
                decision.get("micros").and_then(Value::as_u64).unwrap_or(0),
                word(decision, "digest"),
            ),
            None => format!("the group {}{beside}{counts}", word(decision, "group")),
        };
        lines.push(format!(
            "  {:<8} {who}, set {}",
            word(decision, "verdict"),
            word(decision, "revision"),
        ));
        let causes = decision.get("causes").and_then(Value::as_array);
        let causes: Vec<_> = causes
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !causes.is_empty() {
            lines.push(format!("           because of: {}", causes.join(", ")));
        }
        for name in ["rule", "reason", "fault"] {
            let said = decision.get(name).and_then(Value::as_str);
            lines.extend(said.map(|said| format!("           {name}: {said}")));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Of a member of a group: what counts is what the group decided.
fn is_a_members(decision: &Value) -> bool {
    decision.get("plugin").is_some() && decision.get("group").is_some()
}

fn revisions(decisions: &[Value]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for decision in decisions {
        let revision = word(decision, "revision");
        if decision.get("shadow").is_none() && !found.iter().any(|known| known == revision) {
            found.push(revision.to_owned());
        }
    }
    found
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("-")
}

/// The newest tasks of a gateway.
pub(super) async fn newest(gateway: &Gateway, last: u16) -> anyhow::Result<Vec<String>> {
    let mut ids: Vec<String> = Vec::new();
    let mut cursor: Option<String> = None;
    while ids.len() < usize::from(last) {
        let left = usize::from(last) - ids.len();
        let limit = left.min(100).to_string();
        let mut query = vec![("limit", &limit)];
        query.extend(cursor.as_ref().map(|cursor| ("cursor", cursor)));
        let page = gateway.get(&with_query("/tasks", &query));
        let page = gateway.send(page).await?;
        let tasks = page.get("tasks").and_then(Value::as_array);
        let tasks = tasks.context("GET /tasks gave no tasks")?;
        ids.extend(tasks.iter().map(|task| word(task, "taskId").to_owned()));
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(ids)
}
