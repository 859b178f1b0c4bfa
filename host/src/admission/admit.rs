//! The steps of admission.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Refusal, Request};
use crate::config::Config;
use crate::plugin::{Decision, PluginSet};
use crate::task::{Mode, Record};

/// A body that passed the schema and has its defaults; validators have not seen it yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// As JSON, by API names; what is sealed.
    pub value: Map<String, Value>,
    /// The same, typed.
    pub request: Request,
    /// Which endpoint.
    pub mode: Mode,
    /// Fields that were accepted and have no effect.
    pub warnings: Vec<String>,
}

/// What is sealed for the job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// [`Draft::value`] after amendments.
    pub request: Map<String, Value>,
    /// The pinned revision.
    pub plugin_set: String,
    /// Who called.
    pub caller: String,
    /// Which endpoint.
    pub mode: Mode,
    /// Accepted at.
    pub created_at: Timestamp,
}

/// A task that may be stored and started.
#[derive(Debug)]
pub struct Admitted {
    /// Pending, with everything but storage paths' existence.
    pub record: Record,
    /// [`Payload`] as JSON, to be sealed.
    pub payload: Zeroizing<Vec<u8>>,
    /// What each validator said.
    pub decisions: Vec<Decision>,
}

/// Checks requests by the configuration's limits and defaults.
#[derive(Clone, Debug)]
pub struct Admission {}

impl Admission {
    /// Reads `[task]`, `[outbound]` and whether a webhook secret exists.
    pub fn new(_config: &Config) -> Self {
        unimplemented!()
    }

    /// Steps 1 and 2: JSON, unknown fields, types, ranges, defaults, the credential rule.
    pub fn check(&self, _body: &[u8], _mode: Mode) -> Result<Draft, Refusal> {
        unimplemented!()
    }

    /// Step 3: validators in order, amendments checked again, options of post-execution actions
    /// checked by their plugins. `logs_uri(id)` tells where the events will lie.
    pub async fn admit(
        &self,
        _draft: Draft,
        _caller: &str,
        _plugins: &PluginSet,
        _logs_uri: impl Fn(&str) -> String + Send,
    ) -> Result<Admitted, Refusal> {
        unimplemented!()
    }
}
