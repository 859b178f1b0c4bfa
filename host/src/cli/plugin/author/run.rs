//! `gatehouse plugin run`: one question, one answer.

use std::path::Path;

use anyhow::{Context, bail};
use cases::Case;
use serde_json::{Map, Value, json};

use super::lines::{Line, Lines};
use super::subject::{Opened, Subject};
use crate::config::Sources;
use crate::plugin::{CaseInput, PluginError, Told, TrialTerms};

/// What came of a case, and what the component wrote meanwhile.
pub(super) struct Answer {
    pub(super) told: Told,
    pub(super) lines: Vec<Line>,
}

pub(super) async fn run(
    subject: &Subject,
    input: &Path,
    json: bool,
    sources: &Sources,
) -> anyhow::Result<bool> {
    let lines = Lines::listen();
    let opened = subject.open(sources).await?;
    let case = Case::open(input).map_err(anyhow::Error::msg)?;
    let answer = ask(&opened, &case, &lines).await?;
    if json {
        let mut outcome = Value::Object(answer.told.outcome.clone());
        if let Some(members) = outcome.as_object_mut() {
            let log = answer.lines.iter().map(Line::json).collect();
            members.insert("log".to_owned(), log);
            let micros = u64::try_from(answer.told.time.as_micros()).unwrap_or(u64::MAX);
            members.insert("micros".to_owned(), json!(micros));
        }
        println!("{outcome:#}");
    } else {
        print!("{}", shown(&answer));
    }
    Ok(!answer.told.is_fault())
}

/// Puts one case to a component. Settings that are refused are an outcome like another.
pub(super) async fn ask(opened: &Opened, case: &Case, lines: &Lines) -> anyhow::Result<Answer> {
    let TrialTerms { world, .. } = opened.terms;
    let input = CaseInput::of(world, case).map_err(anyhow::Error::msg)?;
    let settings = match case.find("settings").map_err(anyhow::Error::msg)? {
        None => None,
        Some(Value::Object(settings)) => Some(settings),
        Some(_) => bail!("settings: expected a JSON object"),
    };
    let started = std::time::Instant::now();
    lines.take();
    let trial = match opened.load(settings).await {
        Ok(trial) => trial,
        Err(PluginError::Load {
            code: "plugin-settings-invalid" | "plugin-settings-refused",
            message,
            ..
        }) => {
            let outcome = Map::from_iter([("settingsError".to_owned(), json!(message))]);
            let told = Told {
                outcome,
                time: started.elapsed(),
                memory: None,
            };
            return Ok(Answer {
                told,
                lines: lines.take(),
            });
        }
        Err(error) => return Err(super::subject::told(error)).context("it cannot be loaded"),
    };
    lines.take();
    let told = opened.bench.ask(&trial, &input).await;
    Ok(Answer {
        told,
        lines: lines.take(),
    })
}

/// The verdict in one word.
pub(super) fn verdict(outcome: &Map<String, Value>) -> String {
    let word = ["decision", "verdict", "fault"]
        .iter()
        .find_map(|name| outcome.get(*name)?.as_str());
    let other = || {
        let errors = ["settingsError", "optionsError", "error"];
        let error = errors.iter().find(|name| outcome.contains_key(**name));
        (*error.unwrap_or(&"ok")).to_owned()
    };
    word.map_or_else(other, str::to_owned)
}

fn shown(answer: &Answer) -> String {
    let outcome = &answer.told.outcome;
    let mut lines = vec![format!("{:<9} {}", "verdict", verdict(outcome))];
    for (name, value) in outcome {
        if matches!(name.as_str(), "decision" | "verdict" | "fault") {
            continue;
        }
        let name = if name == "cited" { "rule" } else { name };
        let value = match value {
            Value::Null => continue,
            Value::Array(items) if items.is_empty() => continue,
            Value::Object(members) if members.is_empty() => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        lines.push(format!("{name:<9} {value}"));
    }
    for line in &answer.lines {
        lines.push(format!("{:<9} {line}", "log"));
    }
    lines.push(format!("{:<9} {} µs", "time", answer.told.time.as_micros()));
    lines.into_iter().map(|line| line + "\n").collect()
}
