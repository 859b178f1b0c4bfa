//! Every decision is one line of `decisions.jsonl`.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::task::TaskId;

/// One answer of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// `validation`, `tool` or `action`.
    pub stage: String,
    /// The plugin's name in the manifest.
    pub plugin: String,
    /// Lower-case hex SHA-256 of its component.
    pub digest: String,
    /// Revision of the set.
    pub revision: String,
    /// `enforce` or `monitor`.
    pub mode: String,
    /// `accept`, `amend`, `reject`; `abstain`, `allow`, `rewrite`, `deny`, `ask`; `ok`, `error`.
    pub verdict: String,
    /// False where the mode was `monitor` or another plugin had decided already.
    pub enforced: bool,
    /// The plugin's words, or what went wrong with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The rule that the plugin cited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// `trapped`, `timed-out`, `out-of-memory`, `too-big`, `error`; absent where it answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<String>,
    /// The tool call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call: Option<String>,
    /// Its tool.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<String>,
    /// Lower-case hex SHA-256 of the input.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input_sha256: Option<String>,
    /// Time in the plugin.
    pub micros: u64,
}

/// The writer of a task's decisions; bounded in number, flushed in the background.
#[derive(Clone, Debug)]
pub struct DecisionLog {}

impl DecisionLog {
    /// Keeps at most `max` decisions; one last line says how many were dropped.
    pub fn open(_bucket: Arc<dyn Bucket>, _id: &TaskId, _max: u32) -> Self {
        unimplemented!()
    }

    /// Adds decisions; never waits for the bucket.
    pub fn add(&self, _decisions: &[Decision]) {
        unimplemented!()
    }

    /// Writes what is left.
    pub async fn close(&self) -> Result<(), crate::bucket::BucketError> {
        unimplemented!()
    }
}
