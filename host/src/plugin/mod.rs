//! Plugins as the rest of the gateway sees them: the manifest, one immutable [`PluginSet`], what a
//! call decided, and the log of decisions.
//!
//! Knows nothing of HTTP and nothing of wasmtime (`wasm/` does). A task is pinned to one revision of
//! the set; the job loads that revision from the bucket by digest.

mod decision;
mod set;
mod view;

use std::sync::Arc;

use crate::bucket::Bucket;
use crate::config::Config;

pub use decision::{Decision, DecisionLog};
pub use set::{
    ActionRun, Capabilities, OptionsRefused, PluginSet, Rejection, Ruling, TaskState, Validation, Verdict,
};
pub use view::{OutcomeView, TaskView, ToolCall};

/// Why no set could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The manifest cannot be read or says something impossible.
    #[error("{0}")]
    Manifest(String),
    /// A plugin cannot be loaded.
    #[error("plugin `{plugin}`: {message}")]
    Load {
        /// Its name in the manifest.
        plugin: String,
        /// Stable, e.g. `plugin-not-a-component`.
        code: &'static str,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// The pinned set or one of its components is not in the bucket.
    #[error("plugin set `{0}` is not in the bucket")]
    Missing(String),
    /// The storage failed.
    #[error(transparent)]
    Bucket(#[from] crate::bucket::BucketError),
}

/// The gateway's plugins: the active set, and what became of the last attempt to load one.
#[derive(Debug)]
pub struct Plugins {}

impl Plugins {
    /// Loads the manifest's set whole and aside; keeps components and set in the bucket. A set that
    /// cannot be loaded leaves none active, which [`Plugins::status`] explains: nothing is admitted.
    pub async fn load(_config: &Config, _bucket: Arc<dyn Bucket>) -> Self {
        unimplemented!()
    }

    /// The set that new tasks are pinned to.
    pub fn active(&self) -> Option<Arc<PluginSet>> {
        unimplemented!()
    }

    /// The body of `GET /plugins`: `{"revision", "plugins":[{name, world, mode, state, digest,
    /// settings, grants, limits, version, summary, error?, calls, denials, traps, since}]}`.
    pub fn status(&self) -> serde_json::Value {
        unimplemented!()
    }

    /// The error that kept the manifest's set from becoming active.
    pub fn last_error(&self) -> Option<String> {
        unimplemented!()
    }
}
