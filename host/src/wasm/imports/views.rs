//! Getters: the task, the tool call, the outcome.

use serde_json::Value;
use wasmtime::component::Resource;

use super::{CallHandle, OutcomeHandle, TaskHandle};
use crate::task::Mode;
use crate::wasm::bindings::{outcomes, tasks, tool_calls};
use crate::wasm::guest::Guest;

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

    fn created_at(&mut self, _: Resource<TaskHandle>) -> wasmtime::Result<String> {
        Ok(format!("{:.0}", self.task()?.created_at))
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
        let path = match &self.reach.stated {
            Some(stated) => stated.path.clone(),
            None => self.call()?.path(),
        };
        Ok(path.map(|path| path.to_string_lossy().into_owned()))
    }

    /// Traps where the path cannot be resolved: a plugin that took "none" for "no path" would let
    /// through what nobody could judge.
    fn real_path(&mut self, _: Resource<CallHandle>) -> wasmtime::Result<Option<String>> {
        let path = match &self.reach.stated {
            Some(stated) => stated.real_path.clone(),
            None => self.call()?.real_path()?,
        };
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
