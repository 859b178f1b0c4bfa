//! What plugins decided on, kept with the operator's consent, so that decisions can be explained and tried
//! again: one line for the task, one for each tool call. Secrets are taken out before it is written.
//!
//! `inputs/{yyyy-mm-dd}/{id}.jsonl`, by the day on which the task was accepted, so that a whole day is removed
//! at once when it is over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::view::RealPath;
use super::{TaskView, ToolCall};
use crate::bucket::{Bucket, BucketError, When};
use crate::redact::Redactor;
use crate::task::{Mode, TaskId};

const FOLDER: &str = "inputs/";

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// The first one.
    Task(RecordedTask),
    /// In the order in which the agent made them.
    Call(RecordedCall),
}

/// A task as its plugins saw it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedTask {
    id: TaskId,
    mode: Mode,
    caller: String,
    created_at: Timestamp,
    request: Map<String, Value>,
    secret_names: Vec<String>,
}

/// A tool call as its plugins saw it, with what its path stood for then.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedCall {
    id: String,
    tool: String,
    input: Value,
    workspace: PathBuf,
    cwd: PathBuf,
    /// Absent: it names no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    real_path: Option<PathBuf>,
    /// The way to the file could not be looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unresolved: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subagent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mcp_server: Option<String>,
    index: u32,
}

impl Input {
    /// As JSON without what the redactor knows.
    pub fn to_line(&self, redactor: &Redactor) -> Option<Value> {
        serde_json::to_value(self)
            .ok()
            .map(|line| redactor.json(&line))
    }
}

impl From<&TaskView> for RecordedTask {
    fn from(task: &TaskView) -> Self {
        Self {
            id: task.id.clone(),
            mode: task.mode,
            caller: task.caller.clone(),
            created_at: task.created_at,
            request: task.request.clone(),
            secret_names: task.secret_names.clone(),
        }
    }
}

impl From<RecordedTask> for TaskView {
    fn from(task: RecordedTask) -> Self {
        Self {
            id: task.id,
            mode: task.mode,
            caller: task.caller,
            created_at: task.created_at,
            request: task.request,
            secret_names: task.secret_names,
        }
    }
}

impl From<&ToolCall> for RecordedCall {
    fn from(call: &ToolCall) -> Self {
        let real_path = call.real_path();
        Self {
            id: call.id.clone(),
            tool: call.tool.clone(),
            input: call.input.clone(),
            workspace: call.workspace.clone(),
            cwd: call.cwd.clone(),
            unresolved: real_path.is_err(),
            real_path: real_path.ok().flatten(),
            subagent: call.subagent.clone(),
            mcp_server: call.mcp_server.clone(),
            index: call.index,
        }
    }
}

impl From<RecordedCall> for ToolCall {
    fn from(call: RecordedCall) -> Self {
        Self {
            id: call.id,
            tool: call.tool,
            input: call.input,
            workspace: call.workspace,
            cwd: call.cwd,
            subagent: call.subagent,
            mcp_server: call.mcp_server,
            index: call.index,
            real: if call.unresolved {
                RealPath::Unknown
            } else {
                RealPath::Was(call.real_path)
            },
        }
    }
}

/// Where the inputs of a task lie.
pub fn inputs_name(id: &TaskId, created_at: Timestamp) -> String {
    let day = Offset::UTC.to_datetime(created_at).date();
    format!("{FOLDER}{day}/{id}.jsonl")
}

/// Removes inputs that were kept for longer, every hour.
pub async fn keep_removing_old_inputs(bucket: Arc<dyn Bucket>, kept: Duration) {
    let mut hours = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hours.tick().await;
        match remove_old_inputs(bucket.as_ref(), kept, Timestamp::now()).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed inputs of decisions that are over"),
            Err(error) => tracing::warn!(%error, "old inputs of decisions cannot be removed"),
        }
    }
}

async fn remove_old_inputs(
    bucket: &dyn Bucket,
    kept: Duration,
    now: Timestamp,
) -> Result<u64, BucketError> {
    let kept = SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
    let Ok(until) = now.checked_sub(kept) else {
        return Ok(0);
    };
    let last = Offset::UTC.to_datetime(until).date();
    let mut removed = 0;
    loop {
        // The days are listed from the oldest, and what was listed is gone afterwards.
        let entries = bucket.list(FOLDER, None, PAGE).await?;
        let mut found = 0;
        for name in entries.iter().map(|entry| &entry.name) {
            if day_of(name).is_some_and(|day| day < last) {
                bucket.delete(name, When::Always).await?;
                found += 1;
            }
        }
        removed += found;
        if found == 0 {
            return Ok(removed);
        }
    }
}

/// Names of one listing.
const PAGE: usize = 1000;

fn day_of(name: &str) -> Option<Date> {
    let (day, _) = name.strip_prefix(FOLDER)?.split_once('/')?;
    day.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::bucket::Durability;
    use crate::bucket::directory::DirectoryBucket;

    #[tokio::test]
    async fn whole_days_go_when_they_are_over() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = DirectoryBucket::open(directory.path().to_owned()).unwrap();
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        for hours in [0, 24, 47, 48, 24 * 30] {
            let at = now.checked_sub(SignedDuration::from_hours(hours)).unwrap();
            let name = inputs_name(&format!("t-{hours}").parse().unwrap(), at);
            let data = Bytes::from_static(b"{}");
            bucket
                .put(&name, data, When::Absent, Durability::Synced)
                .await
                .unwrap();
        }
        let kept = Duration::from_secs(24 * 3600);
        assert_eq!(remove_old_inputs(&bucket, kept, now).await.unwrap(), 3);
        let left = [
            "inputs/2026-03-09/t-24.jsonl",
            "inputs/2026-03-10/t-0.jsonl",
        ];
        let names = bucket.list(FOLDER, None, 10).await.unwrap();
        let names: Vec<_> = names.iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, left);
    }

    #[test]
    fn a_call_comes_back_with_what_its_path_stood_for() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap().join("real.txt");
        std::os::unix::fs::symlink(&real, directory.path().join("link.txt")).unwrap();
        let call = ToolCall {
            id: "1".into(),
            tool: "Write".into(),
            input: json!({"file_path": "link.txt", "content": "s3cret-canary"}),
            workspace: directory.path().into(),
            cwd: directory.path().into(),
            subagent: None,
            mcp_server: None,
            index: 3,
            real: RealPath::Now,
        };
        let secret = secrecy::SecretString::from("s3cret-canary");
        let redactor = Redactor::new([&secret]);
        let line = Input::Call(RecordedCall::from(&call))
            .to_line(&redactor)
            .unwrap();
        drop(directory);
        assert!(!line.to_string().contains("s3cret"), "{line}");
        let Input::Call(back) = serde_json::from_value(line).unwrap() else {
            unreachable!("it was a call");
        };
        let back = ToolCall::from(back);
        assert_eq!(back.real_path().unwrap(), Some(real));
        assert_eq!((back.index, &*back.tool), (3, "Write"));
    }
}
