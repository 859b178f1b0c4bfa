//! `gatehouse approval …`: the tool calls that wait for a person, and an operator's word on them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::plugin::Gateway;
use super::shown::Identity;
use crate::config::Sources;
use crate::task::{CallId, TaskId};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The gateway; by default the one of this configuration
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    identity: Identity,
    /// The answer as JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The calls of a task that a person is, or was, to decide, the newest first
    List {
        /// The task
        task: TaskId,
        /// At most so many, up to 100
        #[arg(long, default_value_t = 20)]
        limit: u8,
    },
    /// Let a call run
    Allow {
        /// The task
        task: TaskId,
        /// As `list` names it
        call: CallId,
        /// Kept with the decision
        #[arg(long)]
        reason: Option<String>,
        /// A JSON object that runs in place of the input; `-` reads it from standard input
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
    },
    /// Do not let it run
    Deny {
        /// The task
        task: TaskId,
        /// As `list` names it
        call: CallId,
        /// Shown to the agent
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Ends with 0 where the gateway did as it was told.
pub(super) async fn run(options: Options, sources: &Sources) -> ExitCode {
    match ask(options, sources).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("gatehouse: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(options: Options, sources: &Sources) -> anyhow::Result<()> {
    let gateway = Gateway::find(options.url, &options.identity, sources).await?;
    let decide = |task: &TaskId, call: &CallId, said: Map<String, Value>| {
        let path = format!("/tasks/{task}/approvals/{call}");
        gateway.request(Method::POST, &path, None).json(&said)
    };
    let mut said = Map::new();
    let request = match options.verb {
        Verb::List { task, limit } => {
            gateway.get(&format!("/tasks/{task}/approvals?limit={limit}"))
        }
        Verb::Allow {
            task,
            call,
            reason,
            input,
        } => {
            said.insert("decision".to_owned(), json!("allow"));
            said.extend(reason.map(|reason| ("reason".to_owned(), json!(reason))));
            if let Some(file) = input {
                said.insert("input".to_owned(), read(&file)?);
            }
            decide(&task, &call, said)
        }
        Verb::Deny { task, call, reason } => {
            said.insert("decision".to_owned(), json!("deny"));
            said.extend(reason.map(|reason| ("reason".to_owned(), json!(reason))));
            decide(&task, &call, said)
        }
    };
    let answer = gateway.send(request).await?;
    if options.json {
        println!("{answer:#}");
        return Ok(());
    }
    match answer.get("approvals").and_then(Value::as_array) {
        Some(all) if all.is_empty() => println!("nobody was asked about a call of this task"),
        Some(all) => all.iter().for_each(|one| print!("{}", show(one))),
        None => print!("{}", show(&answer)),
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    serde_json::from_str(&text).with_context(|| format!("{} holds no JSON", file.display()))
}

/// A question in a few lines: its input is what counts, so it is shown whole.
fn show(approval: &Value) -> String {
    let word = |place: &str| approval.pointer(place).and_then(Value::as_str);
    let mut text = format!(
        "{}  {}  {}  {}\n    {}\n",
        word("/call").unwrap_or_default(),
        word("/state").unwrap_or_default(),
        word("/requestedAt").unwrap_or_default(),
        word("/tool").unwrap_or_default(),
        harmless(word("/reason").unwrap_or_default()),
    );
    if let Some(input) = approval.get("input") {
        // As JSON: nothing in it can move the cursor or hide a part of itself.
        text.push_str(&format!("    {}\n", harmless(&input.to_string())));
    }
    if let Some(by) = word("/answer/by") {
        let reason = word("/answer/reason").map(|reason| format!(": {}", harmless(reason)));
        text.push_str(&format!("    by {by}{}\n", reason.unwrap_or_default()));
    }
    text
}

/// Without what a terminal would take for a command, or that would reorder what is read.
fn harmless(text: &str) -> String {
    let odd = |one: char| {
        one.is_control()
            || matches!(one, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown = text.chars().map(|one| match odd(one) {
        true => one.escape_unicode().to_string(),
        false => one.to_string(),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_shown_is_all_of_it_and_cannot_steer_a_terminal() {
        let shown = show(&json!({
            "call": "toolu_1", "state": "pending", "requestedAt": "2026-01-02T03:04:05Z",
            "tool": "Bash", "reason": "look\u{1b}[2K at it",
            "input": {"command": "rm\u{1b}[1A -r\u{202e} ."},
        }));
        assert!(
            !shown.contains('\u{1b}') && !shown.contains('\u{202e}'),
            "{shown}"
        );
        assert!(
            shown.contains("toolu_1  pending") && shown.contains("-r\\u{202e} ."),
            "{shown}"
        );
    }
}
