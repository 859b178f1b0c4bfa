//! The name of a task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `^[A-Za-z0-9_-]{1,128}$`: safe in a URL, a file name, an object name and a webhook id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// The text is no task id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("taskId must be URL-safe: 1 to 128 letters, digits, underscores and hyphens")]
pub struct InvalidTaskId;

impl TaskId {
    /// A fresh id of `/run`: `sync-` and a random UUID, as callers know it.
    pub fn fresh_sync() -> Self {
        Self(format!("sync-{}", uuid::Uuid::new_v4()))
    }

    /// A fresh id of `/run-async`: a random UUID.
    pub fn fresh_async() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, InvalidTaskId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            return Err(InvalidTaskId);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(text: String) -> Result<Self, InvalidTaskId> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
