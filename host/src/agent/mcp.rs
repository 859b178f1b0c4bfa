//! The start of the MCP servers: the task is handed over when each has come up or failed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::AgentTask;

/// Between two questions how they stand.
const PAUSE: Duration = Duration::from_millis(100);

/// The servers of one run, while they start.
#[derive(Debug)]
pub(super) struct Servers {
    /// By name: None while it starts.
    states: BTreeMap<String, Option<Result<(), String>>>,
    required: Vec<String>,
    patience: Duration,
    /// When to ask next; None while an answer is out.
    pub(super) ask_at: Option<Instant>,
    /// When to ask no more.
    pub(super) give_up_at: Instant,
}

impl Servers {
    /// None where the task has no servers.
    pub(super) fn of(task: &AgentTask) -> Option<Self> {
        let named = task.mcp_config.as_ref()?.get("mcpServers")?.as_object()?;
        let states: BTreeMap<_, _> = named.keys().map(|name| (name.clone(), None)).collect();
        let now = Instant::now();
        let patience = task.limits.mcp_start_timeout;
        (!states.is_empty()).then(|| Self {
            states,
            required: task.required_mcp_servers.clone(),
            patience,
            ask_at: Some(now),
            give_up_at: now + patience,
        })
    }

    /// Takes in the CLI's answer; whether all have come up or failed.
    pub(super) fn hear(&mut self, answer: &Value) -> bool {
        let told = answer.get("mcpServers").and_then(Value::as_array);
        for server in told.into_iter().flatten() {
            let text = |key: &str| server.get(key).and_then(Value::as_str);
            let state = text("name").and_then(|name| self.states.get_mut(name));
            let Some(state) = state else { continue };
            *state = match text("status") {
                Some("pending") | None => None,
                Some("connected") => Some(Ok(())),
                Some(other) => Some(Err(text("error").unwrap_or(other).to_owned())),
            };
        }
        self.ask_at = Some(Instant::now() + PAUSE);
        self.states.values().all(Option::is_some)
    }

    /// Lines for the event log about those that failed, and the first of them that was required, with
    /// why. Whoever still starts has failed by now.
    pub(super) fn failed(&self) -> (Vec<Value>, Option<(String, String)>) {
        let late = format!("it did not answer within {:?}", self.patience);
        let failed = self.states.iter().filter_map(|(name, state)| match state {
            Some(Ok(())) => None,
            Some(Err(why)) => Some((name, why)),
            None => Some((name, &late)),
        });
        let failed: Vec<_> = failed.collect();
        let notes = failed.iter().map(|(name, why)| {
            json!({"phase": "agent", "event": "mcp_failed", "server": name, "error": why})
        });
        let required = failed.iter().find(|(name, _)| self.required.contains(name));
        let required = required.map(|(name, why)| ((*name).clone(), (*why).clone()));
        (notes.collect(), required)
    }
}
