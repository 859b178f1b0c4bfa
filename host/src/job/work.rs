//! The steps of one job, in order.

mod afterwards;
mod handover;

use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::task::AbortHandle;
use tracing::warn;

use super::actions::Actions;
use super::approvals::Approvals;
use super::gate::{Beside, PolicyGate, Recorder};
use super::interrupt::{Cause, Interrupt};
use super::repository::{self, Site};
use super::{Failure, Job, LAST_STEPS, Patience, environment_file};
use crate::admission::{Payload, RepoConfig, Request};
use crate::broker::{Broker, Credential};
use crate::envelope::Purpose;
use crate::git::Repository;
use crate::isolation::Sandbox;
use crate::plugin::{Journal, PluginSet, TaskView, inputs_name};
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
    log: Option<EventLog>,
    /// An earlier job had taken the task and died before its agent began.
    is_repeated: bool,
}

/// What the payload held.
struct Opened {
    payload: Payload,
    request: Request,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        job: &'a Job,
        id: &'a TaskId,
        interrupt: Interrupt,
        is_repeated: bool,
    ) -> Self {
        Self {
            job,
            id,
            interrupt,
            started: Instant::now(),
            clock: None,
            sandbox: None,
            git_sandbox: None,
            log: None,
            is_repeated,
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
        if self.is_repeated && acts_before_its_agent(&request) {
            return Err(Failure::told(Reason::Lost, DIED_BEFORE));
        }
        self.arm_the_clock(&request);
        let broker = self.start_broker(&request).await?;
        let secrets = request.secrets();
        let redactor = Arc::new(Redactor::new(secrets.iter().chain([broker.token()])));
        let log = self.open_log(Arc::clone(&redactor)).await?;
        self.log = Some(log.clone());

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

    /// The end of a task whose agent had begun when an earlier job died.
    pub(super) fn died_before(&self, record: &Record) -> Ending {
        match record.cancel {
            Some(_) => Ending::cancelled(),
            None => Ending::failed(Reason::Lost, DIED_BEFORE),
        }
    }

    /// The end of a task whose platform gives no more time: its processes go and its log is closed, as
    /// far as that is quick.
    pub(super) async fn break_off(&self) -> Ending {
        warn!("no time is left: what the job was about is broken off");
        let killed = async {
            for sandbox in [&self.git_sandbox, &self.sandbox].into_iter().flatten() {
                if let Err(error) = sandbox.kill_all().await {
                    warn!(%error, "the agent's processes cannot be ended");
                }
            }
        };
        let closed = async {
            match &self.log {
                Some(log) => log.close().await.ok(),
                None => None,
            }
        };
        let (_killed, closed) = tokio::join!(
            tokio::time::timeout(LAST_STEPS, killed),
            tokio::time::timeout(LAST_STEPS, closed)
        );
        let cause = self.interrupt.cause().unwrap_or(Cause::Terminated);
        Ending {
            last_sequence: closed.ok().flatten(),
            ..cause.into_ending()
        }
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
        let plugins = self.pinned_plugins(&payload.plugin_set, redactor).await?;
        let sandbox = self.make_sandbox().await?;
        let view = Arc::new(TaskView::new(
            self.id.clone(),
            payload.mode,
            &payload.caller,
            payload.created_at,
            &payload.request,
        ));
        let decisions = Journal::of_decisions(
            Arc::clone(self.job.tasks.bucket()),
            self.id,
            self.job.config.plugins.max_decisions,
        );
        let within = self.job.config.agent.decision_timeout * 9 / 10;
        let recorder = Recorder {
            decisions: decisions.clone(),
            inputs: self.inputs(payload),
            beside: match &payload.shadow_set {
                Some(revision) => self.shadow(revision, redactor).await,
                None => None,
            },
            within,
            task: Arc::clone(&view),
            log: log.clone(),
        };
        let approvals = Approvals::new(
            self.job.tasks.clone(),
            self.id.clone(),
            log.clone(),
            self.job.config.approvals.clone(),
            &self.interrupt.token(),
        );
        let gate = PolicyGate::open(
            Arc::clone(&plugins),
            Arc::clone(&view),
            within,
            approvals,
            recorder,
        );
        let cloned = self.clone_repository(request, &sandbox, log).await;
        let (repository, ran) = match cloned {
            Ok(repository) => {
                let cloned = repository.as_ref();
                let ran = self.run_agent(payload, request, broker, cloned, &sandbox, &gate);
                let ran = ran.await;
                (repository, ran)
            }
            Err(failure) => (None, Err(failure)),
        };
        // What the agent left running must not change a file while actions read it.
        sandbox
            .kill_all()
            .await
            .map_err(|source| Failure::fault("ending the agent's processes", source))?;
        let mut ending = self.ending(ran);
        ending.agent.denied_calls = gate.close().await;
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

    async fn pinned_plugins(
        &self,
        revision: &str,
        redactor: &Redactor,
    ) -> Result<Arc<PluginSet>, Failure> {
        PluginSet::pinned(
            &self.job.config,
            Arc::clone(self.job.tasks.bucket()),
            revision,
            redactor.clone(),
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

    /// What is asked beside the pinned set. It counts for nothing, so the task goes on without it.
    async fn shadow(&self, revision: &str, redactor: &Redactor) -> Option<Beside> {
        match self.pinned_plugins(revision, redactor).await {
            Ok(set) => Some(Beside::new(Arc::new(set.as_shadow()))),
            Err(_logged) => None,
        }
    }

    /// Where calls are kept as the plugins saw them, where the operator wants that.
    fn inputs(&self, payload: &Payload) -> Option<Journal> {
        let settings = &self.job.config.plugins;
        settings.keep_inputs.then(|| {
            Journal::open(
                Arc::clone(self.job.tasks.bucket()),
                inputs_name(self.id, payload.created_at),
                settings.max_decisions,
                usize::try_from(settings.max_inputs).unwrap_or(usize::MAX),
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

const DIED_BEFORE: &str =
    "The job died before its task was over; what it had done is not done again.";

/// Whether commands of the caller's or of the repository's run before the agent does.
fn acts_before_its_agent(request: &Request) -> bool {
    !request.pre_execution_commands.is_empty() || request.repo_config == RepoConfig::Full
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
