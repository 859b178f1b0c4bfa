//! The Claude Code CLI: command line, control protocol, supervision, outcome.
//!
//! Every tool call goes through a [`Gate`] before it runs, and the gate is proved by a canary before
//! the task is handed over. Does not know plugins, buckets or credentials. Relies on `isolation` to
//! start and kill processes, on the broker's address and token in the environment it is given.
//! What of the CLI all this relies on was seen of version 2.1.330.

mod binary;
mod canary;
mod command_line;
mod lines;
mod mcp;
mod outcome;
mod protocol;
mod run;
mod scripted_model;
mod talk;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::admission::PermissionMode;
use crate::isolation::Sandbox;
use crate::plugin::ToolCall;
use crate::task::{AgentSummary, EventLog, Reason, Status};

/// Answers every tool call.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Decides one call. Whatever goes wrong here must come back as a denial.
    async fn decide(&self, call: ToolCall) -> Reply;
}

/// What comes of a question to the gate.
pub enum Reply {
    /// The answer.
    Now(GateAnswer),
    /// Somebody is asked, which takes longer than a decision may: the call is parked, and nobody's
    /// silence counts meanwhile.
    Parked(BoxFuture<'static, GateAnswer>),
}

impl From<GateAnswer> for Reply {
    fn from(answer: GateAnswer) -> Self {
        Self::Now(answer)
    }
}

/// What the gate says.
#[derive(Clone, Debug, PartialEq)]
pub enum GateAnswer {
    /// The CLI's own rules decide; what it would ask a person about is denied.
    NoOpinion,
    /// It runs, with this input where one is given.
    Allow(Option<Value>),
    /// It does not run; the reason is shown to the agent.
    Deny(String),
}

/// Everything that one run of the CLI needs.
#[derive(Clone)]
pub struct AgentTask {
    /// The platform binary, executed directly; made reachable for the agent's user if it is not.
    pub binary: PathBuf,
    /// Sent over the control protocol, never in argv.
    pub prompt: String,
    /// Replaces the CLI's own.
    pub system_prompt: Option<String>,
    /// Appended to it.
    pub append_system_prompt: Option<String>,
    /// Auto-approval by the CLI; the gate restricts.
    pub allowed_tools: Vec<String>,
    /// Denied by the CLI too.
    pub disallowed_tools: Vec<String>,
    /// The CLI's.
    pub permission_mode: PermissionMode,
    /// Agentic turns.
    pub max_turns: u32,
    /// By the CLI's own meter.
    pub max_budget_usd: Option<f64>,
    /// None: the CLI's choice.
    pub model: Option<String>,
    /// On overload.
    pub fallback_model: Option<String>,
    /// A JSON object `{"mcpServers": …}`, if any.
    pub mcp_config: Option<Value>,
    /// Servers without which the run ends before the task is handed over.
    pub required_mcp_servers: Vec<String>,
    /// What the answer must look like.
    pub output_schema: Option<Value>,
    /// Whether settings, hooks, commands, agents and memory that lie in the workspace count. Those of
    /// the agent's home never do: the agent can write there, and they could turn the gate off.
    pub trusts_workspace: bool,
    /// Name to `{frontmatter, content}`.
    pub subagents: BTreeMap<String, Value>,
    /// Where it works, inside the workspace.
    pub cwd: PathBuf,
    /// The request's secrets and the broker's address and token; the rest is added here.
    pub env: BTreeMap<String, String>,
    /// Deadlines.
    pub limits: crate::config::Agent,
    /// How long a call may be parked.
    pub approval_timeout: std::time::Duration,
    /// Wall-clock limit of the whole run.
    pub total: std::time::Duration,
}

impl std::fmt::Debug for AgentTask {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Environment and MCP configuration may hold secrets, prompts are nobody's business.
        formatter
            .debug_struct("AgentTask")
            .field("binary", &self.binary)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// How a run ended, judged from evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentEnd {
    /// Terminal.
    pub status: Status,
    /// Where it failed.
    pub reason: Option<Reason>,
    /// As in the record.
    pub exit_code: i32,
    /// For the caller.
    pub error: Option<String>,
    /// From the last `result`.
    pub summary: AgentSummary,
}

/// The gate could not be proved.
#[derive(Debug, thiserror::Error)]
pub enum GateUnproven {
    /// A call ran that had been denied.
    #[error("a denied tool call ran")]
    Ran,
    /// The CLI never asked.
    #[error("the CLI did not ask about a tool call: {0}")]
    NotAsked(String),
    /// The CLI could not be started or ended early.
    #[error("the CLI could not be tried: {0}")]
    Failed(String),
}

/// Runs the CLI with the task's own settings against a scripted answer of ours on loopback: one tool
/// call, denied; proves that the CLI asked and that the call did not run. Takes about a second, at
/// most 30.
///
/// The same flags, permission mode, allowed tools and environment are used, but a home and a
/// directory apart, two turns and no budget, no MCP servers, and no list of disallowed tools: the CLI
/// asks nothing about a tool that is disallowed, and the list can only take calls away. `settings` are
/// the workspace's own, by their paths below the working directory: they lie in the trial's directory
/// likewise, so that one that opens the gate is found out.
///
/// # Errors
/// Whatever keeps the proof from being complete; the task must not be handed over then.
pub async fn prove_gate(
    task: &AgentTask,
    sandbox: &Sandbox,
    settings: &BTreeMap<String, Vec<u8>>,
) -> Result<(), GateUnproven> {
    canary::prove(task, sandbox, settings).await
}

/// Runs the CLI. Every line of its output but the control protocol's goes to `log`, unchanged. When
/// this returns, the whole process tree is dead. `cancel` ends the run as cancelled.
///
/// `idle_timeout` is total silence of the CLI: a command that runs longer without a word counts. While
/// a call is parked nothing does.
pub async fn run(
    task: &AgentTask,
    sandbox: &Sandbox,
    gate: &dyn Gate,
    log: &EventLog,
    cancel: CancellationToken,
) -> AgentEnd {
    let place = run::Place {
        home: sandbox.home(),
        tmp: sandbox.tmp(),
    };
    run::run(task, sandbox, place, gate, log, cancel).await
}

/// The CLI's binary by `agent.claude_bin`, `./tools`, `PATH`; the wrapper script of the npm package
/// leads to the platform binary.
pub fn find_binary(configured: Option<&std::path::Path>) -> Option<PathBuf> {
    binary::find(configured)
}
