//! Proof that a denied tool call does not run.
//!
//! The CLI is run as it will be for the task, but against a model of ours that asks for one shell
//! command, and our gate denies it. Proved is the gate only if the CLI asked about this very call, the
//! command left no trace, and the model was told of the denial.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::run::{self, Place, Sink};
use super::scripted_model::{CALL, ScriptedModel};
use super::{AgentTask, Gate, GateAnswer, GateUnproven, Reply};
use crate::isolation::Sandbox;
use crate::plugin::ToolCall;
use crate::redact::Redactor;

/// For the whole proof.
const LIMIT: Duration = Duration::from_secs(30);
/// The same where hooks of the workspace run at the start.
const LIMIT_WITH_HOOKS: Duration = Duration::from_secs(120);

/// See [`super::prove_gate`].
pub(super) async fn prove(
    task: &AgentTask,
    sandbox: &Sandbox,
    settings: &BTreeMap<String, Vec<u8>>,
) -> Result<(), GateUnproven> {
    let failed = |error: &dyn std::fmt::Display| GateUnproven::Failed(error.to_string());
    let base = sandbox
        .tmp()
        .join(format!("gate-proof-{}", uuid::Uuid::new_v4()));
    let (home, tmp, cwd) = (base.join("home"), base.join("tmp"), base.join("cwd"));
    for directory in [&home, &tmp, &cwd] {
        sandbox
            .make_dir(directory)
            .map_err(|error| failed(&error))?;
    }
    for (path, content) in settings {
        sandbox
            .write_for_agent(&cwd.join(path), content)
            .map_err(|error| failed(&error))?;
    }
    let marker = cwd.join("ran");
    let model = ScriptedModel::start(&marker)
        .await
        .map_err(|error| failed(&error))?;
    let mut trial = task.clone();
    trial.prompt = "Say that you are ready.".to_owned();
    (
        trial.system_prompt,
        trial.append_system_prompt,
        trial.mcp_config,
    ) = (None, None, None);
    trial.required_mcp_servers.clear();
    trial.output_schema = None;
    trial.subagents.clear();
    trial.disallowed_tools.clear();
    trial.cwd.clone_from(&cwd);
    trial.total = if task.trusts_workspace {
        LIMIT_WITH_HOOKS
    } else {
        LIMIT
    };
    // One turn for the call, one to be told what came of it.
    trial.max_turns = 2;
    trial.max_budget_usd = None;
    let credentials = [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
    ];
    if !credentials.iter().any(|name| trial.env.contains_key(*name)) {
        trial
            .env
            .insert("ANTHROPIC_API_KEY".to_owned(), "gate-proof".to_owned());
    }
    trial
        .env
        .insert("ANTHROPIC_BASE_URL".to_owned(), model.url());

    let gate = Refusal::default();
    let place = Place {
        home: &home,
        tmp: &tmp,
    };
    let end = run::run(
        &trial,
        sandbox,
        place,
        &gate,
        &Nowhere,
        CancellationToken::new(),
    )
    .await;
    // Not `exists`: what cannot be looked at is no proof of absence.
    match marker.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Ok(_) => return Err(GateUnproven::Ran),
        Err(error) => return Err(failed(&error)),
    }
    let ending = || {
        end.error
            .clone()
            .unwrap_or_else(|| "it ended as if all was well".to_owned())
    };
    if !gate.asked.load(Ordering::Relaxed) {
        let reached = model.was_asked();
        return Err(if reached {
            GateUnproven::NotAsked(ending())
        } else {
            GateUnproven::Failed(ending())
        });
    }
    if !model.was_told_of_denial() {
        return Err(GateUnproven::Failed(format!(
            "the denial did not reach the model; {}",
            ending()
        )));
    }
    Ok(())
}

/// Denies everything and notes whether it was asked about the call that matters.
#[derive(Default)]
struct Refusal {
    asked: AtomicBool,
}

#[async_trait]
impl Gate for Refusal {
    async fn decide(&self, call: ToolCall) -> Reply {
        if call.id == CALL && call.tool == "Bash" {
            self.asked.store(true, Ordering::Relaxed);
        }
        GateAnswer::Deny("This call proves that a denied call does not run.".to_owned()).into()
    }
}

/// Nobody is shown the trial.
struct Nowhere;

#[async_trait]
impl Sink for Nowhere {
    async fn append(&self, _line: &[u8]) {}
    async fn say(&self, _fields: Value) {}

    fn redactor(&self) -> Redactor {
        Redactor::default()
    }
}
