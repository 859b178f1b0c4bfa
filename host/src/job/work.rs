//! The steps of one job, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::actions::{Actions, asked};
use super::gate::{PolicyGate, Recorder};
use super::interrupt::{Cause, Interrupt};
use super::prepare::{Commands, callers_environment, working_directory};
use super::repository::{self, Site};
use super::repository_config::RepositoryConfig;
use super::{Failure, Job, Patience, environment_file};
use crate::admission::{Payload, RepoConfig, Request};
use crate::agent::{self, AgentEnd, AgentTask};
use crate::broker::{Broker, Credential};
use crate::envelope::Purpose;
use crate::git::Repository;
use crate::isolation::Sandbox;
use crate::outbound::ForPlugins;
use crate::plugin::{Capabilities, DecisionLog, GitRepository, PluginSet, TaskView};
use crate::redact::Redactor;
use crate::task::{Ending, EventLog, LogLimits, Phase, Reason, Record, Status, TaskId};

/// One task being worked on. What it opened stays here until [`Work::clean_up`].
#[derive(Debug)]
pub(super) struct Work<'a> {
    job: &'a Job,
    id: &'a TaskId,
    interrupt: Interrupt,
    started: Instant,
    /// Raises the interrupt when the task's time is over.
    clock: Option<AbortHandle>,
    sandbox: Option<Arc<Sandbox>>,
    /// Of what speaks to the repository's server.
    git_sandbox: Option<Arc<Sandbox>>,
}

/// What the payload held.
struct Opened {
    payload: Payload,
    request: Request,
}

impl<'a> Work<'a> {
    pub(super) fn new(job: &'a Job, id: &'a TaskId, interrupt: Interrupt) -> Self {
        Self {
            job,
            id,
            interrupt,
            started: Instant::now(),
            clock: None,
            sandbox: None,
            git_sandbox: None,
        }
    }

    /// From the sealed payload to the ending that is to be reported.
    pub(super) async fn until_the_end(&mut self) -> Result<Ending, Failure> {
        self.enter(Phase::Preparing, |record| {
            record.status = Status::Running;
            record.started_at = Some(jiff::Timestamp::now());
        })
        .await?;
        let Opened { payload, request } = self.open().await?;
        self.arm_the_clock(&request);
        let broker = self.start_broker(&request).await?;
        let secrets = request.secrets();
        let redactor = Arc::new(Redactor::new(secrets.iter().chain([broker.token()])));
        let log = self.open_log(Arc::clone(&redactor)).await?;

        let ended = self
            .work_with(&payload, &request, &broker, &redactor, &log)
            .await;
        broker.shutdown().await;
        // The log is durable before anything says how the task ended.
        let last_sequence = log
            .close()
            .await
            .map_err(|source| Failure::fault("writing the event log", source));
        let mut ending = ended.unwrap_or_else(|failure| failure.into_ending(self.id));
        ending.last_sequence = Some(last_sequence?);
        ending.error = ending.error.map(|error| redactor.text(&error));
        Ok(ending)
    }

    /// Workspace and processes go, whatever happened.
    pub(super) async fn clean_up(&mut self) {
        for sandbox in [self.git_sandbox.take(), self.sandbox.take()]
            .into_iter()
            .flatten()
        {
            if let Err(error) = sandbox.close().await {
                warn!(%error, "cannot remove the workspace; the gateway will");
            }
        }
    }

    async fn work_with(
        &mut self,
        payload: &Payload,
        request: &Request,
        broker: &Broker,
        redactor: &Arc<Redactor>,
        log: &EventLog,
    ) -> Result<Ending, Failure> {
        let plugins = self.pinned_plugins(&payload.plugin_set).await?;
        let sandbox = self.make_sandbox().await?;
        let view = Arc::new(TaskView::new(
            self.id.clone(),
            payload.mode,
            &payload.caller,
            payload.created_at,
            &payload.request,
        ));
        let decisions = DecisionLog::open(
            Arc::clone(self.job.tasks.bucket()),
            self.id,
            self.job.config.plugins.max_decisions,
        );
        let recorder = Recorder {
            decisions: decisions.clone(),
            log: log.clone(),
        };
        let gate = PolicyGate::open(
            Arc::clone(&plugins),
            Arc::clone(&view),
            self.job.config.agent.decision_timeout * 9 / 10,
            recorder,
        );
        let cloned = self.clone_repository(request, &sandbox, log).await;
        let (repository, ran) = match cloned {
            Ok(repository) => {
                let cloned = repository.as_ref();
                let ran =
                    self.run_agent(payload, request, broker, cloned, &sandbox, &gate, redactor);
                let ran = ran.await;
                (repository, ran)
            }
            Err(failure) => (None, Err(failure)),
        };
        let denied_calls = gate.close().await;
        // What the agent left running must not change a file while actions read it.
        sandbox
            .kill_all()
            .await
            .map_err(|source| Failure::fault("ending the agent's processes", source))?;
        let mut ending = self.ending(ran);
        ending.agent.denied_calls = denied_calls;
        ending.agent.usage = Some(broker.usage());
        if self.interrupt.cause().is_none()
            && let (Some(cost), Some(budget)) = (broker.spent_budget(), request.max_budget_usd)
        {
            spent(&mut ending, cost, budget);
        }

        let actions = Actions {
            plugins: &plugins,
            task: view,
            log,
            decisions: &decisions,
            redactor,
            capabilities: self.capabilities(request, repository, &sandbox, redactor)?,
            interrupt: &self.interrupt,
        };
        self.act(&actions, request, &mut ending).await?;
        if let Err(error) = decisions.close().await {
            warn!(%error, "cannot write the log of decisions to its end");
        }
        self.enter(Phase::Reporting, |_| ()).await?;
        Ok(ending)
    }

    /// From the workspace as it was cloned to the agent's end.
    async fn run_agent(
        &self,
        payload: &Payload,
        request: &Request,
        broker: &Broker,
        repository: Option<&Repository>,
        sandbox: &Arc<Sandbox>,
        gate: &PolicyGate,
        redactor: &Redactor,
    ) -> Result<AgentEnd, Failure> {
        let log = &gate.log;
        let mut task = self.agent_task(payload, request, broker, sandbox)?;
        if let Some(repository) = repository {
            task.env.extend(repository.agents_environment());
        }
        environment_file::write(sandbox, request, log).await?;
        let task = self
            .prepare(request, task, repository, sandbox, redactor, log)
            .await?;
        self.enter(Phase::Agent, |_| ()).await?;
        Ok(agent::run(&task, sandbox, gate, log, self.interrupt.token()).await)
    }

    /// How the task ends, whatever its actions do. From here on its clock says nothing any more.
    fn ending(&self, ran: Result<AgentEnd, Failure>) -> Ending {
        if let Some(clock) = &self.clock {
            clock.abort();
        }
        match (self.interrupt.cause(), ran) {
            (Some(cause), ran) => Ending {
                agent: ran.map(|end| end.summary).unwrap_or_default(),
                ..cause.into_ending()
            },
            (None, Ok(end)) => into_ending(end),
            (None, Err(failure)) => failure.into_ending(self.id),
        }
    }

    /// Carries out what is due after this end. A task that the platform ends, or that is somebody
    /// else's now, has nothing carried out.
    async fn act(
        &self,
        actions: &Actions<'_>,
        request: &Request,
        ending: &mut Ending,
    ) -> Result<(), Failure> {
        if matches!(
            self.interrupt.cause(),
            Some(Cause::Terminated | Cause::LeaseLost)
        ) {
            return Ok(());
        }
        let asked = asked(actions.plugins.actions(), request);
        if asked.iter().any(|asked| asked.is_due(ending.status)) {
            self.enter(Phase::Actions, |_| ()).await?;
        }
        actions.run(asked, ending).await;
        Ok(())
    }

    async fn open(&self) -> Result<Opened, Failure> {
        let sealed = self
            .job
            .tasks
            .payload(self.id)
            .await
            .map_err(|source| Failure::fault("reading the payload", source))?;
        let Some(sealed) = sealed else {
            return Err(Failure::told(
                Reason::Setup,
                "The sealed request of this task is gone",
            ));
        };
        let plain = self
            .job
            .envelope
            .open(Purpose::TaskPayload, self.id, &sealed)
            .await
            .map_err(|source| Failure::fault("opening the payload", source))?;
        let payload: Payload = serde_json::from_slice(&plain)
            .map_err(|_| Failure::fault("reading the payload", "it has another shape"))?;
        let request = Request::from_admitted(&payload.request)
            .map_err(|refusal| Failure::fault("reading the request", refusal.message))?;
        Ok(Opened { payload, request })
    }

    /// One clock for everything the job does, the agent included.
    fn arm_the_clock(&mut self, request: &Request) {
        let total = Duration::from_secs(u64::from(request.timeout_minutes) * 60);
        let remaining = total.saturating_sub(self.started.elapsed());
        let interrupt = self.interrupt.clone();
        let clock = tokio::spawn(async move {
            tokio::time::sleep(remaining).await;
            interrupt.raise(Cause::TimedOut);
        });
        self.clock = Some(clock.abort_handle());
    }

    async fn start_broker(&self, request: &Request) -> Result<Broker, Failure> {
        let credential = match (&request.anthropic_api_key, &request.anthropic_oauth_token) {
            (Some(key), _) => Credential::ApiKey(key.clone()),
            (None, Some(token)) => Credential::OAuth(token.clone()),
            (None, None) => Credential::ApiKey(SecretString::default()),
        };
        Broker::start(&self.job.config.broker, credential, request.max_budget_usd)
            .await
            .map_err(|source| Failure::fault("starting the broker", source))
    }

    async fn open_log(&self, redactor: Arc<Redactor>) -> Result<EventLog, Failure> {
        let settings = &self.job.config.job;
        let limits = LogLimits {
            flush_interval: settings.flush_interval,
            flush_size: settings.flush_size,
            max_size: settings.max_log_size,
        };
        EventLog::open(
            Arc::clone(self.job.tasks.bucket()),
            self.id.clone(),
            limits,
            redactor,
        )
        .await
        .map_err(|source| Failure::fault("opening the event log", source))
    }

    async fn pinned_plugins(&self, revision: &str) -> Result<Arc<PluginSet>, Failure> {
        PluginSet::pinned(
            &self.job.config,
            Arc::clone(self.job.tasks.bucket()),
            revision,
        )
        .await
        .map_err(|error| {
            warn!(%error, revision, "the pinned plugin set cannot be loaded");
            Failure::told(
                Reason::Policy,
                "The policy plugins this task was admitted with cannot be loaded",
            )
        })
    }

    async fn make_sandbox(&mut self) -> Result<Arc<Sandbox>, Failure> {
        let sandbox = self
            .job
            .isolation
            .sandbox(self.id)
            .map_err(|source| Failure::fault("making the workspace", source))?;
        self.sandbox = Some(Arc::clone(&sandbox));
        let report = self.job.isolation.report();
        self.enter(Phase::Preparing, move |record| {
            record.isolation = Some(report.clone())
        })
        .await?;
        Ok(sandbox)
    }

    async fn clone_repository(
        &mut self,
        request: &Request,
        sandbox: &Arc<Sandbox>,
        log: &EventLog,
    ) -> Result<Option<Repository>, Failure> {
        let Some(source) = repository::source(request)? else {
            return Ok(None);
        };
        let git = self
            .job
            .isolation
            .git_sandbox(self.id)
            .map_err(|source| Failure::fault("making a place for git", source))?;
        self.git_sandbox = Some(Arc::clone(&git));
        let site = Site {
            config: &self.job.config,
            task: self.id,
            agent: sandbox,
            git: &git,
            log,
            stop: self.interrupt.token(),
        };
        let secrets = request.secrets();
        let cloned = repository::clone(source, site, secrets.iter().collect()).await;
        if let Some(cause) = self.interrupt.cause() {
            return Err(Failure::Interrupted(cause));
        }
        let ours = environment_file::placed_in_workspace(request);
        let cloned = cloned?
            .leave_out(ours.iter().map(|path| (*path).to_owned()))
            .keep_in(Arc::clone(self.job.tasks.bucket()));
        let described = repository::describe(&cloned);
        self.enter(Phase::Preparing, move |record| {
            record.repository = Some(described.clone())
        })
        .await?;
        Ok(Some(cloned))
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
        redactor: &Redactor,
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
            redactor,
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

    fn capabilities(
        &self,
        request: &Request,
        repository: Option<Repository>,
        sandbox: &Sandbox,
        redactor: &Arc<Redactor>,
    ) -> Result<Capabilities, Failure> {
        // The task's time is over with the agent's; each action has a time of its own.
        let repository = repository.map(|cloned| cloned.outlive(CancellationToken::new()));
        let http = ForPlugins::new(&self.job.config.outbound)
            .map_err(|source| Failure::fault("making the client of plugins", source))?;
        Ok(Capabilities {
            workspace: sandbox.workspace().to_owned(),
            bucket: Arc::clone(self.job.tasks.bucket()),
            task: self.id.clone(),
            max_artifact_size: self.job.config.job.max_artifact_size,
            max_artifacts: self.job.config.job.max_artifacts,
            git: repository.map(|repository| Arc::new(repository) as Arc<dyn GitRepository>),
            http: Arc::new(http),
            secrets: Arc::new(request.sendable_secrets()),
            redactor: Arc::clone(redactor),
        })
    }

    /// Notes the phase; ends here where the task was ended by somebody else meanwhile.
    async fn enter(
        &self,
        phase: Phase,
        mut also: impl FnMut(&mut Record) + Send,
    ) -> Result<(), Failure> {
        tracing::Span::current().record("stage", tracing::field::debug(phase));
        let mut patience = Patience::to("note the phase");
        let updated = loop {
            let change = |record: &mut Record| {
                record.phase = phase;
                also(record);
                true
            };
            let updated = self.job.tasks.update(self.id, change).await;
            if !patience.lasts(updated.as_ref().err()).await {
                break updated;
            }
        };
        let updated = updated.map_err(|source| Failure::fault("noting the phase", source))?;
        if updated.record.status.is_terminal() {
            self.interrupt.raise(Cause::LeaseLost);
        } else if updated.record.cancel.is_some() {
            self.interrupt.raise(Cause::Cancelled);
        }
        match (phase, self.interrupt.cause()) {
            // What an interrupted job still has to do.
            (Phase::Reporting, _)
            | (Phase::Actions, Some(Cause::Cancelled | Cause::TimedOut))
            | (_, None) => Ok(()),
            (_, Some(cause)) => Err(Failure::Interrupted(cause)),
        }
    }
}

/// The broker's count decides: the CLI may believe that it is within its budget, or end with the error
/// by which the broker turned it away.
fn spent(end: &mut Ending, cost: f64, budget: f64) {
    if end.status == Status::Completed {
        end.exit_code = 1;
    }
    end.status = Status::Failed;
    end.reason = Some(Reason::Budget);
    end.agent.structured_output = None;
    end.error = Some(format!(
        "the budget of {budget} US dollars is spent: the model's answers cost {cost:.4} by list prices"
    ));
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

fn into_ending(end: AgentEnd) -> Ending {
    Ending {
        status: end.status,
        reason: end.reason,
        exit_code: end.exit_code,
        error: end.error,
        agent: end.summary,
        actions: BTreeMap::new(),
        uploaded_files: Vec::new(),
        last_sequence: None,
    }
}
