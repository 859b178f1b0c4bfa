//! From the workspace as it was cloned to the agent's end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::super::gate::PolicyGate;
use super::super::prepare::{Commands, callers_environment, working_directory};
use super::super::repository_config::RepositoryConfig;
use super::super::{Failure, environment_file};
use super::Work;
use crate::admission::{Payload, RepoConfig, Request};
use crate::agent::{self, AgentEnd, AgentTask};
use crate::broker::Broker;
use crate::git::Repository;
use crate::isolation::Sandbox;
use crate::task::{EventLog, Phase, Reason};

impl Work<'_> {
    /// Prepares the workspace, proves the gate, and has the agent do the task.
    pub(super) async fn run_agent(
        &self,
        payload: &Payload,
        request: &Request,
        broker: &Broker,
        repository: Option<&Repository>,
        sandbox: &Arc<Sandbox>,
        gate: &PolicyGate,
    ) -> Result<AgentEnd, Failure> {
        let log = &gate.log;
        let mut task = self.agent_task(payload, request, broker, sandbox)?;
        if let Some(repository) = repository {
            task.env.extend(repository.agents_environment());
        }
        environment_file::write(sandbox, request, log).await?;
        let task = self
            .prepare(request, task, repository, sandbox, log)
            .await?;
        self.enter(Phase::Agent, |_| ()).await?;
        Ok(agent::run(&task, sandbox, gate, log, self.interrupt.token()).await)
    }

    fn agent_task(
        &self,
        payload: &Payload,
        request: &Request,
        broker: &Broker,
        sandbox: &Sandbox,
    ) -> Result<AgentTask, Failure> {
        let settings = &self.job.config.agent;
        let binary = agent::find_binary(settings.claude_bin.as_deref()).ok_or_else(|| {
            Failure::told(
                Reason::Setup,
                "The Claude Code CLI is not installed; the operator can run `gatehouse doctor`",
            )
        })?;
        let binary = self
            .job
            .isolation
            .reachable_binary(&binary)
            .map_err(|source| {
                Failure::fault("making the CLI reachable for the agent's user", source)
            })?;
        let mut env = callers_environment(request);
        env.extend(broker.environment());
        let mut allowed_tools = request.allowed_tools.clone();
        allowed_tools.extend(payload.approved_tools.iter().cloned());
        Ok(AgentTask {
            binary,
            prompt: request.prompt.clone(),
            system_prompt: request.system_prompt.clone(),
            append_system_prompt: request.append_system_prompt.clone(),
            allowed_tools,
            disallowed_tools: request.disallowed_tools.clone(),
            permission_mode: request.permission_mode,
            max_turns: request.max_turns,
            max_budget_usd: request.max_budget_usd,
            model: request.model.clone(),
            fallback_model: request.fallback_model.clone(),
            mcp_config: request.mcp_config.clone(),
            required_mcp_servers: request.required_mcp_servers.clone(),
            output_schema: request.output_schema.clone(),
            trusts_workspace: request.repo_config == RepoConfig::Full,
            subagents: request.subagents.clone(),
            cwd: working_directory(sandbox, request)?,
            env,
            limits: settings.clone(),
            approval_timeout: self.job.config.approvals.timeout,
            total: Duration::from_secs(u64::from(request.timeout_minutes) * 60)
                .saturating_sub(self.started.elapsed()),
        })
    }

    /// The caller's commands, the proof of the gate, and what counts of the repository, whose last word
    /// comes from the commands.
    async fn prepare(
        &self,
        request: &Request,
        mut task: AgentTask,
        repository: Option<&Repository>,
        sandbox: &Sandbox,
        log: &EventLog,
    ) -> Result<AgentTask, Failure> {
        // The agent's own, but for what leads to the broker.
        let mut environment = callers_environment(request);
        environment.extend(
            repository
                .map(Repository::agents_environment)
                .unwrap_or_default(),
        );
        let commands = Commands {
            sandbox,
            log,
            redactor: log.redactor(),
            cwd: &task.cwd,
            env: environment,
            limit: self.job.config.job.pre_command_timeout,
            stop: self.interrupt.token(),
        };
        let run = commands.run(&request.pre_execution_commands);
        let config = RepositoryConfig::open(sandbox.workspace(), &task.cwd)?;
        if request.repo_config == RepoConfig::Full {
            let ran = run.await;
            self.go_on()?;
            ran?;
            config.must_end_above()?;
            let settings = config.settings().await?;
            self.prove_gate(&task, sandbox, &settings).await?;
            // Its hooks ran in the trial.
            if config.settings().await? != settings {
                let message = "The task was not handed to the agent: the repository's settings changed while \
                               the gate was being proved";
                return Err(Failure::told(Reason::Policy, message));
            }
            add_servers(&mut task.mcp_config, config.mcp_servers().await?);
        } else {
            // Neither needs the other.
            let nothing = BTreeMap::new();
            let (ran, proved) = tokio::join!(run, self.prove_gate(&task, sandbox, &nothing));
            self.go_on()?;
            ran?;
            proved?;
        }
        if request.repo_config == RepoConfig::Memory
            && let Some(memory) = config.memory(log).await?
        {
            let callers = task.append_system_prompt.take();
            let parts: Vec<_> = callers.into_iter().chain([memory]).collect();
            task.append_system_prompt = Some(parts.join("\n\n"));
        }
        info!("the gate is proved");
        log.say(json!({"phase": "agent", "event": "gate_proved", "isolation": self.job.isolation.level()})).await;
        Ok(task)
    }

    async fn prove_gate(
        &self,
        task: &AgentTask,
        sandbox: &Sandbox,
        settings: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), Failure> {
        self.go_on()?;
        let proved = agent::prove_gate(task, sandbox, settings).await;
        self.go_on()?;
        proved.map_err(|error| {
            warn!(%error, "the gate could not be proved; the task is not handed over");
            let message = format!("The task was not handed to the agent: {error}");
            Failure::told(Reason::Policy, message)
        })
    }

    /// An error where somebody wants the end.
    fn go_on(&self) -> Result<(), Failure> {
        match self.interrupt.cause() {
            Some(cause) => Err(Failure::Interrupted(cause)),
            None => Ok(()),
        }
    }
}

/// The repository's servers beside the request's, which win.
fn add_servers(config: &mut Option<Value>, repositorys: Map<String, Value>) {
    if repositorys.is_empty() {
        return;
    }
    let mut servers = repositorys;
    if let Some(Value::Object(callers)) = config
        .as_mut()
        .and_then(|config| config.get_mut("mcpServers"))
    {
        servers.append(callers);
    }
    *config = Some(json!({"mcpServers": servers}));
}
