//! The report of a task: the webhook's body and the `done` event.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Record, Status};

/// `taskId`, `status`, `exitCode`, `logsPath`, `summary {durationMs, turns?, errors?, startedAt,
/// completedAt, cancelledAt?}`, `error?`, `metadata?`, `uploadedFiles?`, `gitCommit?` as callers know
/// them, and beside them `labels?`, `reason?`, `result?`, `structuredOutput?`, `costUsd?`, `usage?`, `sessionId?`, `actions?`,
/// `warnings?`. What is absent is left out.
///
/// A task that ended before a job took it counts as started when it was accepted. Times are in UTC
/// with milliseconds, as JavaScript writes them.
pub fn report(record: &Record) -> Map<String, Value> {
    let agent = &record.agent;
    let mut report = Fields::default();
    report.add("taskId", Some(&record.task_id));
    report.add("status", Some(record.status));
    report.add("exitCode", record.exit_code);
    report.add("logsPath", Some(&record.logs_path));
    report.add("summary", Some(summary(record)));
    report.add("error", record.error.as_ref());
    report.add(
        "labels",
        Some(&record.labels).filter(|labels| !labels.is_empty()),
    );
    report.add("metadata", record.metadata.as_ref());
    report.add(
        "uploadedFiles",
        Some(&record.uploaded_files).filter(|files| !files.is_empty()),
    );
    report.add("gitCommit", record.git_commit.as_ref());
    report.add("reason", record.reason);
    report.add("result", agent.result.as_ref());
    report.add("structuredOutput", agent.structured_output.as_ref());
    report.add("costUsd", agent.cost_usd);
    report.add("usage", agent.usage.as_ref());
    report.add("sessionId", agent.session_id.as_ref());
    report.add(
        "actions",
        Some(&record.actions).filter(|actions| !actions.is_empty()),
    );
    report.add(
        "warnings",
        Some(&record.warnings).filter(|warnings| !warnings.is_empty()),
    );
    report.0
}

fn summary(record: &Record) -> Map<String, Value> {
    let started_at = record.started_at.unwrap_or(record.created_at);
    let took = record
        .completed_at
        .map(|at| at.duration_since(started_at).as_millis().max(0));
    let was_cancelled = record.status == Status::Cancelled;
    let mut summary = Fields::default();
    summary.add("durationMs", took.and_then(|took| u64::try_from(took).ok()));
    summary.add("turns", record.agent.turns);
    summary.add("errors", (record.status == Status::Failed).then_some(1));
    summary.add("startedAt", Some(javascript(started_at)));
    summary.add("completedAt", record.completed_at.map(javascript));
    summary.add(
        "cancelledAt",
        record
            .cancelled_at
            .filter(|_| was_cancelled)
            .map(javascript),
    );
    summary.0
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn add(&mut self, name: &str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), json!(value));
        }
    }
}

/// A time as JavaScript writes it: in UTC, with milliseconds.
pub(crate) fn javascript(at: Timestamp) -> String {
    format!("{at:.3}")
}
