//! What admission needs of a plugin set.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::plugin::{Action, OptionsRefused, PluginSet, TaskView, Validated};
use crate::redact::Redactor;
use crate::task::{Mode, TaskId};

/// A request on its way through the validators.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) id: &'a TaskId,
    pub(super) mode: Mode,
    pub(super) caller: &'a str,
    /// With secrets; they go no further than [`TaskView::new`].
    pub(super) request: &'a Map<String, Value>,
    /// Knows those secrets.
    pub(super) redactor: &'a Redactor,
}

/// Validators in order, and the plugins behind post-execution actions.
#[async_trait]
pub(super) trait Policies: Sync {
    fn revision(&self) -> &str;
    fn validators(&self) -> usize;
    /// None where the validator is off for this task.
    async fn validate(&self, n: usize, candidate: Candidate<'_>) -> Option<Validated>;
    fn actions(&self) -> Vec<Action>;
    async fn check_options(&self, plugin: &str, options: &Value) -> Result<(), OptionsRefused>;
}

#[async_trait]
impl Policies for PluginSet {
    fn revision(&self) -> &str {
        self.revision()
    }

    fn validators(&self) -> usize {
        self.validators()
    }

    async fn validate(&self, n: usize, candidate: Candidate<'_>) -> Option<Validated> {
        let Candidate {
            id,
            mode,
            caller,
            request,
            redactor,
        } = candidate;
        let view = TaskView::new(id.clone(), mode, caller, Timestamp::now(), request);
        self.validate(n, Arc::new(view), redactor).await
    }

    fn actions(&self) -> Vec<Action> {
        self.actions()
    }

    async fn check_options(&self, plugin: &str, options: &Value) -> Result<(), OptionsRefused> {
        self.check_options(plugin, options).await
    }
}
