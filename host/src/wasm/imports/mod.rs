//! The host's side of the contract: what a guest's imports do. Thin on purpose; what is to be known
//! about workspaces, artefacts, repositories, requests and notes is in `plugin/`.
//!
//! `views` is what a guest may see, `reach` what it may do.

mod reach;
mod views;

use serde_json::Value;
use tracing::Level;

use super::bindings::{failures, host};
use super::guest::Guest;
use crate::plugin::{Failure, OutcomeView, TaskView, ToolCall};

/// A guest's handle to the task of its call. It stands for what is in the store, so it carries
/// nothing and its number is never looked at.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct TaskHandle;
/// A guest's handle to the tool call.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct CallHandle;
/// A guest's handle to the outcome.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct OutcomeHandle;

/// Bytes of a citation that are kept.
const CITATION: usize = 512;

/// A guest holds a handle that it was never given. It cannot happen as long as wasmtime keeps the
/// handles; if it does, the call traps.
#[derive(Debug, thiserror::Error)]
#[error("there is no {0} in this call")]
struct NotInCall(&'static str);

impl Guest {
    fn task(&self) -> wasmtime::Result<&TaskView> {
        self.reach
            .task
            .as_deref()
            .ok_or_else(|| NotInCall("task").into())
    }

    fn call(&self) -> wasmtime::Result<&ToolCall> {
        self.reach
            .call
            .as_deref()
            .ok_or_else(|| NotInCall("tool call").into())
    }

    fn outcome(&self) -> wasmtime::Result<&OutcomeView> {
        self.reach
            .outcome
            .as_deref()
            .ok_or_else(|| NotInCall("outcome").into())
    }

    fn text(&self, field: &str) -> wasmtime::Result<Option<String>> {
        Ok(self
            .task()?
            .request
            .get(field)
            .and_then(Value::as_str)
            .map(str::to_owned))
    }

    fn texts(&self, field: &str) -> wasmtime::Result<Vec<String>> {
        let list = self.task()?.request.get(field).and_then(Value::as_array);
        Ok(list
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect())
    }

    fn number(&self, field: &str) -> wasmtime::Result<u32> {
        let number = self
            .task()?
            .request
            .get(field)
            .and_then(Value::as_u64)
            .unwrap_or(0);
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }
}

impl From<Failure> for failures::Failure {
    fn from(from: Failure) -> Self {
        Self {
            code: from.code.to_owned(),
            message: from.message,
        }
    }
}

impl host::Host for Guest {
    fn settings(&mut self) -> wasmtime::Result<String> {
        Ok(self.settings.as_ref().to_owned())
    }

    fn log(&mut self, level: host::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            host::Level::Trace => Level::TRACE,
            host::Level::Debug => Level::DEBUG,
            host::Level::Info => Level::INFO,
            host::Level::Warn => Level::WARN,
            host::Level::Error => Level::ERROR,
        };
        self.log.write(level, &message);
        Ok(())
    }

    fn cite(&mut self, rule: String) -> wasmtime::Result<()> {
        self.cited = Some(self.reach.redactor.words(&rule, CITATION));
        Ok(())
    }
}

impl failures::Host for Guest {}

/// Where the plugin is only asked about itself there is no task to keep notes of.
fn no_task() -> Failure {
    Failure::new("no-task", "there is no task in this call")
}
