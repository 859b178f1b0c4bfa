//! `gatehouse plugin test`: a folder of cases, each with what is expected of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cases::Case;
use serde_json::{Value, json};

use super::junit;
use super::lines::Lines;
use super::run::{ask, verdict};
use super::subject::{Opened, Subject};
use crate::config::Sources;

/// Which cases, and who is told.
pub(super) struct Wanted {
    pub(super) cases: Option<PathBuf>,
    pub(super) only: Option<String>,
    pub(super) junit: Option<PathBuf>,
}

/// What became of one case.
pub(super) struct Report {
    pub(super) case: String,
    verdict: String,
    pub(super) time: Duration,
    /// How it differs from what was expected, or why it could not be run.
    pub(super) difference: Option<String>,
    /// What the component wrote.
    pub(super) log: Vec<String>,
}

pub(super) async fn run(
    subject: &Subject,
    wanted: &Wanted,
    json: bool,
    sources: &Sources,
) -> anyhow::Result<bool> {
    let lines = Lines::listen();
    let opened = subject.open(sources).await?;
    let folder = match &wanted.cases {
        Some(folder) => folder.clone(),
        None => subject.file().with_file_name("cases"),
    };
    let mut cases = Case::all(&folder)
        .map_err(anyhow::Error::msg)
        .context("the cases cannot be read; name their folder by --cases")?;
    if let Some(text) = &wanted.only {
        cases.retain(|case| case.name().contains(text.as_str()));
    }
    if cases.is_empty() {
        bail!("there is no case in `{}`", folder.display());
    }
    let started = Instant::now();
    let mut reports = Vec::new();
    for case in &cases {
        reports.push(report(&opened, case, &lines).await);
    }
    if let Some(file) = &wanted.junit {
        let report = junit::report(&opened.terms.name, &reports, started.elapsed());
        std::fs::write(file, report)
            .with_context(|| format!("`{}` cannot be written", file.display()))?;
    }
    if json {
        println!("{:#}", as_json(&reports));
    } else {
        print!("{}", table(&reports));
    }
    Ok(reports.iter().all(|report| report.difference.is_none()))
}

async fn report(opened: &Opened, case: &Case, lines: &Lines) -> Report {
    let name = case.name().to_owned();
    match ask(opened, case, lines).await {
        Ok(answer) => {
            let outcome = answer.told.outcome;
            let verdict = verdict(&outcome);
            Report {
                case: name,
                verdict,
                time: answer.told.time,
                difference: case.compare(&Value::Object(outcome)).err(),
                log: answer.lines.iter().map(ToString::to_string).collect(),
            }
        }
        Err(error) => Report {
            case: name,
            verdict: "-".to_owned(),
            time: Duration::ZERO,
            difference: Some(format!("{error:#}")),
            log: Vec::new(),
        },
    }
}

/// A line for each case, below a wrong one what is wrong; at the end the sum.
fn table(reports: &[Report]) -> String {
    let width = reports
        .iter()
        .map(|report| report.case.chars().count())
        .max();
    let width = width.unwrap_or(0).min(72);
    let mut lines = Vec::new();
    for report in reports {
        let state = if report.difference.is_none() {
            "ok"
        } else {
            "FAILED"
        };
        lines.push(format!(
            "{state:<6}  {:<width$}  {:<13}  {:>8} µs",
            report.case,
            report.verdict,
            report.time.as_micros()
        ));
        if let Some(difference) = &report.difference {
            lines.push(format!("        {difference}"));
            lines.extend(report.log.iter().map(|line| format!("        log: {line}")));
        }
    }
    let failed = reports
        .iter()
        .filter(|report| report.difference.is_some())
        .count();
    lines.push(format!(
        "{} passed, {failed} failed",
        reports.len() - failed
    ));
    lines.into_iter().map(|line| line + "\n").collect()
}

fn as_json(reports: &[Report]) -> Value {
    let report = |report: &Report| {
        json!({
            "case": report.case,
            "passed": report.difference.is_none(),
            "verdict": report.verdict,
            "micros": u64::try_from(report.time.as_micros()).unwrap_or(u64::MAX),
            "difference": report.difference,
            "log": report.log,
        })
    };
    reports.iter().map(report).collect()
}
