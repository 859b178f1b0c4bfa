#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod approvals;
mod claims;
mod faults;
mod lease;
mod lists;
mod log;
mod records;
mod reports;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Map;

use super::*;
use crate::bucket::Bucket;
use crate::bucket::directory::DirectoryBucket;

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn bucket(directory: &tempfile::TempDir) -> Arc<dyn Bucket> {
    Arc::new(DirectoryBucket::open(directory.path().to_owned()).unwrap())
}

fn record(task: &str) -> Record {
    Record {
        shadow_set: None,
        task_id: id(task),
        status: Status::Pending,
        phase: Phase::Queued,
        reason: None,
        execution_mode: Mode::Async,
        caller: "anonymous".to_owned(),
        tenant: String::new(),
        created_at: Timestamp::now(),
        idempotency: None,
        started_at: None,
        completed_at: None,
        cancelled_at: None,
        logs_path: format!("file:///bucket/sessions/{task}/"),
        encrypted_payload_path: names::payload(&id(task)),
        callback_url: None,
        labels: Default::default(),
        metadata: None,
        effective: Map::new(),
        plugin_set: "1".to_owned(),
        system_prompt_version: None,
        append_system_prompt_version: None,
        pending_approvals: 0,
        detach: false,
        execution_name: None,
        attempt: 0,
        cancel: None,
        isolation: None,
        repository: None,
        error: None,
        exit_code: None,
        agent: AgentSummary::default(),
        actions: Default::default(),
        git_commit: None,
        uploaded_files: Vec::new(),
        warnings: Vec::new(),
        last_sequence: None,
    }
}

fn completed(last_sequence: Option<u64>) -> Ending {
    Ending {
        status: Status::Completed,
        reason: None,
        exit_code: 0,
        error: None,
        last_sequence,
        ..Ending::cancelled()
    }
}

fn payload() -> Bytes {
    Bytes::from_static(b"sealed")
}
