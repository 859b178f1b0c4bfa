//! `sessions/{id}/approvals/{call}.json`: a tool call that waits for a person, and what was decided.
//!
//! The job creates it, once. It is decided once, by compare-and-set: by a person through any gateway,
//! or as expired by the job or, where that is gone, with the end of the task. It stays as long as the
//! task's events do.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{TaskError, TaskId, Tasks, names};
use crate::bucket::{BucketError, Durability, Generation, When};

/// Calls of one task that persons are asked about; whoever asks more is not answered.
pub const MOST_APPROVALS: usize = 500;
/// How often a decision is tried again because somebody else wrote meanwhile. Of two writers one has
/// decided.
const TRIES: u32 = 5;
/// Approvals read at once.
const CONCURRENT: usize = 16;

/// Names a call within its task: `^[A-Za-z0-9_-]{1,128}$`, as the CLI makes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallId(String);

/// The text is no id of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a call is named by 1 to 128 letters, digits, underscores and hyphens")]
pub struct InvalidCallId;

impl FromStr for CallId {
    type Err = InvalidCallId;

    fn from_str(text: &str) -> Result<Self, InvalidCallId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            return Err(InvalidCallId);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for CallId {
    type Error = InvalidCallId;

    fn try_from(text: String) -> Result<Self, InvalidCallId> {
        text.parse()
    }
}

impl From<CallId> for String {
    fn from(call: CallId) -> Self {
        call.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where a question to a person stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalState {
    /// Nobody has answered.
    Pending,
    /// The call may run.
    Allowed,
    /// It may not.
    Denied,
    /// Nobody answered in time, or the task ended before; it did not run.
    Expired,
}

/// What was decided, and by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    /// `operator`; `gatehouse` where it expired.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// For the agent and the record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What is to run in place of what was asked about: a JSON object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input: Option<Value>,
}

/// A tool call that a person is asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// The CLI's id of the call, where that is a fit name.
    pub call: CallId,
    /// `Bash`, `Write`, `mcp__server__tool`, …
    pub tool: String,
    /// The subagent that calls, if one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subagent: Option<String>,
    /// What would run, after every rewrite, with the task's secrets taken out.
    pub input: Value,
    /// Whether any were taken out.
    pub redacted: bool,
    /// The plugins that ask.
    pub plugins: Vec<String>,
    /// The words of the first.
    pub reason: String,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When it counts as denied.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: ApprovalState,
    /// Of one that is not pending.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answer: Option<Answered>,
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Decided {
    /// It counts.
    Now(Approval),
    /// Somebody was first, and this counts.
    Before(Approval),
    /// There is no such question.
    Unknown,
}

impl Approval {
    /// The end of one that nobody answered.
    pub fn expiry(reason: impl Into<String>) -> Answered {
        Answered {
            by: "gatehouse".to_owned(),
            at: Timestamp::now(),
            reason: Some(reason.into()),
            input: None,
        }
    }
}

impl Tasks {
    /// Puts a question; false where one about this call was put before.
    pub async fn request_approval(
        &self,
        id: &TaskId,
        approval: &Approval,
    ) -> Result<bool, TaskError> {
        let name = names::approval(id, &approval.call);
        let data = encode(id, approval)?;
        let put = self
            .bucket()
            .put(&name, data, When::Absent, Durability::Synced);
        match put.await {
            Ok(_) => Ok(true),
            Err(BucketError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// How a question stands, if there is one.
    pub async fn approval(
        &self,
        id: &TaskId,
        call: &CallId,
    ) -> Result<Option<Approval>, TaskError> {
        let read = self.read_approval(id, call).await?;
        Ok(read.map(|(approval, _)| approval))
    }

    async fn read_approval(
        &self,
        id: &TaskId,
        call: &CallId,
    ) -> Result<Option<(Approval, Generation)>, TaskError> {
        let Some(object) = self.bucket().get(&names::approval(id, call)).await? else {
            return Ok(None);
        };
        let approval =
            serde_json::from_slice(&object.data).map_err(|error| TaskError::Damaged {
                id: id.clone(),
                detail: format!("approval {call}: {error}"),
            })?;
        Ok(Some((approval, object.generation)))
    }

    /// All questions of a task, the newest first. One that cannot be read is left out.
    pub async fn approvals(&self, id: &TaskId) -> Result<Vec<Approval>, TaskError> {
        let prefix = names::approvals(id);
        let listed = self.bucket().list(&prefix, None, MOST_APPROVALS).await?;
        let mut calls = Vec::with_capacity(listed.len());
        for entry in &listed {
            calls.extend(names::call_of_approval(&entry.name));
        }
        let read = futures::stream::iter(calls).map(|call| async move {
            match self.approval(id, &call).await {
                Err(TaskError::Damaged { id, detail }) => {
                    tracing::warn!(task = %id, detail, "a damaged approval is left out");
                    Ok(None)
                }
                other => other,
            }
        });
        let found = read.buffered(CONCURRENT).try_collect::<Vec<_>>().await?;
        let mut found: Vec<_> = found.into_iter().flatten().collect();
        found.sort_by(|a, b| (b.requested_at, &b.call).cmp(&(a.requested_at, &a.call)));
        Ok(found)
    }

    /// Answers a question, unless somebody was first.
    pub async fn decide_approval(
        &self,
        id: &TaskId,
        call: &CallId,
        state: ApprovalState,
        answer: &Answered,
    ) -> Result<Decided, TaskError> {
        let name = names::approval(id, call);
        let mut tries = 0;
        loop {
            let Some((mut approval, generation)) = self.read_approval(id, call).await? else {
                return Ok(Decided::Unknown);
            };
            if approval.state != ApprovalState::Pending {
                return Ok(Decided::Before(approval));
            }
            approval.state = state;
            approval.answer = Some(answer.clone());
            let (data, when) = (encode(id, &approval)?, When::Matches(generation));
            match self
                .bucket()
                .put(&name, data, when, Durability::Synced)
                .await
            {
                Ok(_) => return Ok(Decided::Now(approval)),
                Err(BucketError::Conflict(_)) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes out of an answer what must not be kept. For the job alone, which knows the secrets.
    pub async fn redact_answer(
        &self,
        id: &TaskId,
        call: &CallId,
        answer: Answered,
    ) -> Result<(), TaskError> {
        if let Some((mut approval, generation)) = self.read_approval(id, call).await? {
            approval.answer = Some(answer);
            let (data, when) = (encode(id, &approval)?, When::Matches(generation));
            let name = names::approval(id, call);
            self.bucket()
                .put(&name, data, when, Durability::Synced)
                .await?;
        }
        Ok(())
    }

    /// Ends what still waits: its task is over.
    pub async fn expire_approvals(&self, id: &TaskId) -> Result<(), TaskError> {
        for approval in self.approvals(id).await? {
            if approval.state == ApprovalState::Pending {
                let answer = Approval::expiry("The task ended before anybody decided.");
                let state = ApprovalState::Expired;
                self.decide_approval(id, &approval.call, state, &answer)
                    .await?;
            }
        }
        Ok(())
    }
}

fn encode(id: &TaskId, approval: &Approval) -> Result<Bytes, TaskError> {
    let encoded = serde_json::to_vec_pretty(approval).map(Bytes::from);
    encoded.map_err(|error| TaskError::Damaged {
        id: id.clone(),
        detail: error.to_string(),
    })
}
