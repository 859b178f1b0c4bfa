//! The host's side of the contract: what a guest's imports do. Thin on purpose; what is to be known
//! about workspaces, artefacts and notes is in `plugin/`.

use serde_json::Value;
use tracing::Level;
use wasmtime::component::Resource;

use super::bindings::{
    artifacts, failures, host, outcomes, task_state, tasks, tool_calls, workspace,
};
use super::guest::Guest;
use super::output::cut;
use crate::plugin::{Failure, OutcomeView, TaskView, ToolCall};
use crate::task::Mode;

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
        self.cited = Some(cut(&rule, CITATION).to_owned());
        Ok(())
    }
}

impl tasks::Host for Guest {}

impl tasks::HostTask for Guest {
    fn id(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<String> {
        Ok(self.task()?.id.to_string())
    }

    fn mode(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<String> {
        Ok(match self.task()?.mode {
            Mode::Sync => "sync",
            Mode::Async => "async",
        }
        .to_owned())
    }

    fn caller(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<String> {
        Ok(self.task()?.caller.clone())
    }

    fn prompt(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<String> {
        Ok(self.text("prompt")?.unwrap_or_default())
    }

    fn model(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<Option<String>> {
        self.text("model")
    }

    fn permission_mode(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<String> {
        Ok(self
            .text("permissionMode")?
            .unwrap_or_else(|| "default".to_owned()))
    }

    fn allowed_tools(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<Vec<String>> {
        self.texts("allowedTools")
    }

    fn disallowed_tools(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<Vec<String>> {
        self.texts("disallowedTools")
    }

    fn max_turns(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<u32> {
        self.number("maxTurns")
    }

    fn timeout_minutes(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<u32> {
        self.number("timeoutMinutes")
    }

    fn git_repo(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<Option<String>> {
        self.text("gitRepo")
    }

    fn git_branch(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<Option<String>> {
        self.text("gitBranch")
    }

    fn callback_url(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<Option<String>> {
        self.text("callbackUrl")
    }

    fn secret_names(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<Vec<String>> {
        Ok(self.task()?.secret_names.clone())
    }

    fn field(&mut self, _: Resource<TaskHandle>, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.task()?.request.get(&name).map(Value::to_string))
    }

    fn drop(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl tool_calls::Host for Guest {}

impl tool_calls::HostToolCall for Guest {
    fn id(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<String> {
        Ok(self.call()?.id.clone())
    }

    fn tool(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<String> {
        Ok(self.call()?.tool.clone())
    }

    fn input(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<String> {
        Ok(self.call()?.input.to_string())
    }

    fn workspace(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<String> {
        Ok(self.call()?.workspace.to_string_lossy().into_owned())
    }

    fn cwd(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<String> {
        Ok(self.call()?.cwd.to_string_lossy().into_owned())
    }

    fn path(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self
            .call()?
            .path()
            .map(|path| path.to_string_lossy().into_owned()))
    }

    /// Traps where the path cannot be resolved: a plugin that took "none" for "no path" would let
    /// through what nobody could judge.
    fn real_path(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<Option<String>> {
        let path = self.call()?.real_path()?;
        Ok(path.map(|path| path.to_string_lossy().into_owned()))
    }

    fn mcp_server(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.call()?.mcp_server.clone())
    }

    fn subagent(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.call()?.subagent.clone())
    }

    fn index(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<u32> {
        Ok(self.call()?.index)
    }

    fn drop(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl outcomes::Host for Guest {}

impl outcomes::HostOutcome for Guest {
    fn status(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<String> {
        Ok(self.outcome()?.status.clone())
    }

    fn reason(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.outcome()?.reason.clone())
    }

    fn exit_code(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<Option<i32>> {
        Ok(self.outcome()?.exit_code)
    }

    fn result_text(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.outcome()?.result_text.clone())
    }

    fn turns(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<u32> {
        Ok(self.outcome()?.turns)
    }

    fn cost_usd(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<Option<f64>> {
        Ok(self.outcome()?.cost_usd)
    }

    fn result_of(
        &mut self,
        _: Resource<OutcomeHandle>,
        action: String,
    ) -> wasmtime::Result<Option<String>> {
        let result = self.outcome()?.results.get(&action);
        Ok(result.map(serde_json::Value::to_string))
    }

    fn drop(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl failures::Host for Guest {}

/// Where the plugin is only asked about itself there is no task to keep notes of.
fn no_task() -> Failure {
    Failure::new("no-task", "there is no task in this call")
}

impl task_state::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.reach.notes.as_ref().and_then(|notes| notes.get(&key)))
    }

    fn set(
        &mut self,
        key: String,
        value: String,
    ) -> wasmtime::Result<Result<(), failures::Failure>> {
        let notes = self.reach.notes.as_ref().ok_or_else(no_task);
        Ok(notes
            .and_then(|notes| notes.set(key, value))
            .map_err(Into::into))
    }

    fn add(&mut self, key: String, delta: i64) -> wasmtime::Result<Result<i64, failures::Failure>> {
        let notes = self.reach.notes.as_ref().ok_or_else(no_task);
        Ok(notes
            .and_then(|notes| notes.add(key, delta))
            .map_err(Into::into))
    }
}

impl workspace::Host for Guest {
    async fn find(
        &mut self,
        patterns: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<workspace::Entry>, failures::Failure>> {
        let Some(workspace) = self.reach.workspace.clone() else {
            return Ok(Err(no_task().into()));
        };
        let found = workspace.find(patterns).await;
        let entry = |found: crate::plugin::Found| workspace::Entry {
            path: found.path,
            size: found.size,
        };
        Ok(found
            .map(|found| found.into_iter().map(entry).collect())
            .map_err(Into::into))
    }

    async fn read(
        &mut self,
        path: String,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, failures::Failure>> {
        let Some(workspace) = self.reach.workspace.clone() else {
            return Ok(Err(no_task().into()));
        };
        Ok(workspace
            .read(path, offset, length)
            .await
            .map_err(Into::into))
    }
}

impl From<crate::plugin::Stored> for artifacts::Stored {
    fn from(from: crate::plugin::Stored) -> Self {
        Self {
            path: from.path,
            uri: from.uri,
            size: from.size,
            content_type: from.content_type,
            sha256: from.sha256,
        }
    }
}

impl artifacts::Host for Guest {
    async fn upload(
        &mut self,
        path: String,
        prefix: Option<String>,
    ) -> wasmtime::Result<Result<artifacts::Stored, failures::Failure>> {
        let Some(artifacts) = self.reach.artifacts.clone() else {
            return Ok(Err(no_task().into()));
        };
        Ok(artifacts
            .upload(&path, prefix.as_deref())
            .await
            .map(Into::into)
            .map_err(Into::into))
    }

    async fn write(
        &mut self,
        name: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<Result<artifacts::Stored, failures::Failure>> {
        let Some(artifacts) = self.reach.artifacts.clone() else {
            return Ok(Err(no_task().into()));
        };
        Ok(artifacts
            .write(&name, content)
            .await
            .map(Into::into)
            .map_err(Into::into))
    }
}
