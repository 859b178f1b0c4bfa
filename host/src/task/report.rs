//! The report of a task: the webhook's body and the `done` event.

use serde_json::{Map, Value};

use super::Record;

/// `taskId`, `status`, `exitCode`, `logsPath`, `summary {durationMs, turns?, errors?, startedAt,
/// completedAt, cancelledAt?}`, `error?`, `metadata?`, `uploadedFiles?`, `gitCommit?` as callers know
/// them, and beside them `reason?`, `result?`, `costUsd?`, `usage?`, `sessionId?`, `actions?`,
/// `warnings?`. What is absent is left out.
pub fn report(_record: &Record) -> Map<String, Value> {
    unimplemented!()
}
