//! What operators ask of the active set, and what they are told.

use serde_json::{Value, json};

use super::history::SetChange;
use crate::bucket::BucketError;

/// Why the active set was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The set that was asked for cannot be used. For operators, a line for each mistake.
    #[error("{0}")]
    Refused(String),
    /// Somebody else changed it first, or it is not what the operator thought.
    #[error("the active set is `{active}` by now: look at it, then say it again")]
    Conflict {
        /// What is active.
        active: String,
    },
    /// There is no such plugin.
    #[error("no plugin or group of the active set is named `{name}`; there are: {known}")]
    NoSuchPlugin {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// There is nothing to go back to.
    #[error("{0}")]
    NoSuchRevision(String),
    /// The storage failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// Who asks for a change, and what they take for active.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// For the record of the change.
    pub by: &'a str,
    /// Refuse where another revision is active.
    pub seen: Option<&'a str>,
}

/// What an operator's request led to.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What is active now.
    pub revision: String,
    /// None where it was active already.
    pub change: Option<SetChange>,
}

impl Changed {
    pub(super) fn nothing(revision: String) -> Self {
        Self {
            revision,
            change: None,
        }
    }

    /// `{"revision", "changed", "change"?}`
    pub fn to_json(&self) -> Value {
        match &self.change {
            Some(change) => json!({"revision": self.revision, "changed": true, "change": change}),
            None => json!({"revision": self.revision, "changed": false}),
        }
    }
}
