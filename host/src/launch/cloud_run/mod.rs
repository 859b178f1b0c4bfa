//! Jobs as executions of one Cloud Run job, which any gateway on the bucket can watch.
//!
//! A request to start an execution bears no id by which Google would know it again, so it is never
//! repeated blindly: each start has a [`Record::run_id`] of its own in the execution's environment, and
//! after a failure that leaves it open whether there is one, the executions are looked through for it. A
//! job whose run id is not that of its task's record does nothing, so that even a start that shows late
//! repeats no side effect.
//!
//! Whether a job lives is asked of the bucket first: while its lease is held, Google is not asked.

mod trouble;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_gax::paginator::ItemPaginator as _;
use google_cloud_gax::retry_policy::{Aip194Strict, NeverRetry, RetryPolicyExt as _};
use google_cloud_run_v2::client::{Executions, Jobs};
use google_cloud_run_v2::model::condition::State;
use google_cloud_run_v2::model::run_job_request::Overrides;
use google_cloud_run_v2::model::run_job_request::overrides::ContainerOverride;
use google_cloud_run_v2::model::{Condition, EnvVar, Execution};

use super::{ACTIONS_HANG_AFTER, HANGS_AFTER, LaunchError, Launcher, time_of};
use crate::config::Config;
use crate::google;
use crate::task::{Lease, Record, TaskId, Tasks, names};
use trouble::Trouble;

/// The job's variable for [`Record::run_id`].
const RUN_ID: &str = "TASK_RUN_ID";

/// How often a start is tried before its task waits on, and how often a cancel is.
const TRIES: u32 = 8;
/// Between two tries: doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// For one answer of Google's.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// How often the record of a running task is read, without a hint, and at most with one.
const LOOK_AT_RECORD: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often a task that no job holds is asked for: grows by half from the first to the last.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(15);

/// Executions that are looked through for one.
const MOST_EXECUTIONS: usize = 1000;
const PAGE: i32 = 100;

/// The longest that Cloud Run lets a task run.
const LONGEST: Duration = Duration::from_secs(168 * 60 * 60);

/// Starts executions of `google.job_name`.
#[derive(Clone, Debug)]
pub struct CloudRunLauncher {
    jobs: Jobs,
    executions: Executions,
    tasks: Tasks,
    /// `projects/{project}/locations/{region}/jobs/{job}`
    job: String,
    longest: Duration,
}

impl CloudRunLauncher {
    /// The job that the settings name, for tasks of this bucket.
    ///
    /// # Errors
    /// Where there are no credentials to be found.
    pub async fn new(config: &Config, tasks: Tasks) -> Result<Self, LaunchError> {
        let settings = &config.google;
        let retry = || {
            Aip194Strict
                .with_time_limit(ANSWERS_WITHIN)
                .with_attempt_limit(3)
        };
        let jobs = google::placed(Jobs::builder(), settings).build();
        let executions = google::placed(Executions::builder(), settings)
            .with_retry_policy(retry())
            .with_backoff_policy(google::backoff())
            .build();
        let failed = |error: google_cloud_gax::client_builder::Error| LaunchError::Refused {
            told: "",
            detail: format!("the client of Cloud Run cannot be made: {error}"),
        };
        Ok(Self {
            jobs: jobs.await.map_err(failed)?,
            executions: executions.await.map_err(failed)?,
            tasks,
            job: format!(
                "projects/{}/locations/{}/jobs/{}",
                settings.project_id, settings.region, settings.job_name
            ),
            longest: Duration::from_secs(u64::from(config.task.timeout_minutes_limit) * 60),
        })
    }

    /// Asks for one execution; its name, where the answer tells.
    async fn run(&self, record: &Record) -> Result<Option<String>, Trouble> {
        let id = &record.task_id;
        let payload = self.tasks.bucket().uri(&names::payload(id));
        let variable =
            |(name, value): (&str, String)| EnvVar::new().set_name(name).set_value(value);
        let environment = [
            ("TASK_ID", id.to_string()),
            ("ENCRYPTED_PAYLOAD_PATH", payload),
            (RUN_ID, record.run_id()),
        ];
        let container = ContainerOverride::new().set_env(environment.map(variable));
        // The dispatcher ends what hangs; this is for jobs that no gateway is left to watch.
        let timeout = time_of(record, self.longest) + HANGS_AFTER + ACTIONS_HANG_AFTER;
        let timeout = i64::try_from(timeout.min(LONGEST).as_secs()).unwrap_or(i64::MAX);
        let overrides = Overrides::new()
            .set_container_overrides([container])
            .set_task_count(1)
            .set_timeout(google_cloud_wkt::Duration::clamp(timeout, 0));
        let operation = self
            .jobs
            .run_job()
            .set_name(&self.job)
            .set_overrides(overrides)
            .with_attempt_timeout(ANSWERS_WITHIN)
            .with_retry_policy(NeverRetry)
            .send()
            .await
            .map_err(|error| Trouble::of(&error, &self.job))?;
        let execution = operation
            .metadata
            .and_then(|metadata| metadata.to_msg::<Execution>().ok());
        Ok(execution
            .map(|execution| execution.name)
            .filter(|name| !name.is_empty()))
    }

    /// The execution that bears this run id.
    async fn started_as(&self, run_id: &str) -> Result<Option<String>, Trouble> {
        let mut executions = self
            .executions
            .list_executions()
            .set_parent(&self.job)
            .set_page_size(PAGE)
            .by_item();
        for _ in 0..MOST_EXECUTIONS {
            match executions.next().await {
                Some(Ok(execution)) if bears(&execution, run_id) => {
                    return Ok(Some(execution.name));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Trouble::of(&error, &self.job)),
                None => break,
            }
        }
        Ok(None)
    }

    /// The name of the record's execution; none where there is none.
    async fn execution_of(&self, record: &Record) -> Result<Option<String>, Trouble> {
        match &record.execution_name {
            Some(name) => Ok(Some(name.clone()).filter(|name| name.starts_with("projects/"))),
            None => self.started_as(&record.run_id()).await,
        }
    }

    /// Whether the execution runs no more. Where Google does not say, it is taken to run.
    async fn is_over(&self, record: &Record) -> bool {
        let execution = match self.execution_of(record).await {
            Ok(Some(name)) => self.executions.get_execution().set_name(name).send().await,
            // An execution goes with its job.
            Ok(None) | Err(Trouble::Missing(_)) => return true,
            Err(trouble) => {
                tracing::warn!(task = %record.task_id, %trouble, "it is not known whether a job runs");
                return false;
            }
        };
        match execution {
            Ok(execution) => {
                let over = is_over(&execution);
                if over && execution.succeeded_count == 0 {
                    let why = completed(&execution).map_or("", |condition| &condition.message);
                    tracing::warn!(task = %record.task_id, execution = execution.name, why, "an execution ended badly");
                }
                over
            }
            Err(error) => match Trouble::of(&error, &self.job) {
                // Somebody deleted it, which ends it.
                Trouble::Missing(_) => true,
                trouble => {
                    tracing::warn!(task = %record.task_id, %trouble, "it is not known whether a job runs");
                    false
                }
            },
        }
    }

    /// Whether the task is over, or unknown, by its record.
    async fn is_ended(&self, id: &TaskId) -> bool {
        match self.tasks.get(id).await {
            Ok(record) => record.is_none_or(|record| record.status.is_terminal()),
            Err(_) => false,
        }
    }

    /// Where the bucket does not say, the lease is taken to be held.
    async fn is_held(&self, id: &TaskId) -> bool {
        let holder = Lease::holder(self.tasks.bucket().as_ref(), id).await;
        holder.map_or(true, |holder| {
            holder.is_some_and(|holder| holder.is_alive())
        })
    }
}

#[async_trait]
impl Launcher for CloudRunLauncher {
    async fn start(&self, record: &Record) -> Result<String, LaunchError> {
        let (id, run_id) = (&record.task_id, record.run_id());
        let mut pause = FIRST_PAUSE;
        let mut last = String::new();
        for _ in 0..TRIES {
            let trouble = match self.run(record).await {
                Ok(Some(name)) => {
                    tracing::info!(task = %id, execution = name, "started a job");
                    return Ok(name);
                }
                Ok(None) => Trouble::Open("the answer names no execution".to_owned()),
                Err(trouble) => trouble,
            };
            tracing::warn!(task = %id, %trouble, "a job was not started, or it is not known");
            let is_open = match trouble {
                Trouble::Missing(detail) => return Err(refused(NOT_DEPLOYED, detail)),
                Trouble::Denied(detail) => return Err(refused(NOT_ALLOWED, detail)),
                Trouble::Refused(detail) => return Err(refused(NOT_STARTED, detail)),
                Trouble::NotNow(detail) => {
                    last = detail;
                    false
                }
                Trouble::Open(detail) => {
                    last = detail;
                    true
                }
            };
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            if !is_open {
                continue;
            }
            match self.started_as(&run_id).await {
                Ok(Some(name)) => {
                    tracing::info!(task = %id, execution = name, "started a job after all");
                    return Ok(name);
                }
                Ok(None) => {}
                // Not knowing, it is better not to start a second one.
                Err(trouble) => return Err(LaunchError::NotNow(trouble.to_string())),
            }
        }
        Err(LaunchError::NotNow(last))
    }

    async fn find(&self, record: &Record) -> Result<Option<String>, LaunchError> {
        let found = self.started_as(&record.run_id()).await;
        found.map_err(|trouble| LaunchError::NotNow(trouble.to_string()))
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn is_gone(&self, record: &Record) -> bool {
        self.is_over(record).await
    }

    /// Returns also once the record is terminal: what the job does after that concerns nobody.
    async fn gone(&self, record: &Record) {
        let id = &record.task_id;
        let mut hints = self.tasks.bucket().watch(&names::session(id));
        let mut pause = FIRST_LOOK;
        let mut due = Instant::now();
        while !self.is_ended(id).await {
            if Instant::now() >= due {
                if !self.is_held(id).await && self.is_over(record).await {
                    return;
                }
                due = Instant::now() + pause;
                pause = (pause * 3 / 2).min(LAST_LOOK);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            hints.changed(LOOK_AT_RECORD.min(pause)).await;
        }
    }

    async fn kill(&self, record: &Record) {
        let id = &record.task_id;
        let mut pause = FIRST_PAUSE;
        for _ in 0..TRIES {
            let trouble = match self.execution_of(record).await {
                Ok(None) => return,
                // By the execution's name: an operation cannot be cancelled.
                Ok(Some(name)) => {
                    let cancel = self.executions.cancel_execution().set_name(&name);
                    match cancel.send().await {
                        Ok(_) => {
                            tracing::warn!(task = %id, execution = name, "cancelled an execution");
                            return;
                        }
                        Err(error) => Trouble::of(&error, &self.job),
                    }
                }
                Err(trouble) => trouble,
            };
            // What is over cannot be cancelled either.
            if self.is_over(record).await {
                return;
            }
            tracing::warn!(task = %id, %trouble, "an execution cannot be cancelled; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
        tracing::error!(task = %id, "an execution cannot be cancelled; it runs until its time is over");
    }

    /// Nothing of a job is on this machine.
    async fn sweep(&self, _id: &TaskId) {}
}

const NOT_DEPLOYED: &str = "The job that runs tasks is not deployed; the operator's log says more.";
const NOT_ALLOWED: &str = "This gateway may not start jobs; the operator's log says more.";
const NOT_STARTED: &str = "The job could not be started; the operator's log says more.";

fn refused(told: &'static str, detail: String) -> LaunchError {
    LaunchError::Refused { told, detail }
}

fn bears(execution: &Execution, run_id: &str) -> bool {
    let containers = execution.template.iter().flat_map(|task| &task.containers);
    containers
        .flat_map(|container| &container.env)
        .any(|variable| {
            variable.name == RUN_ID && variable.value().is_some_and(|value| value == run_id)
        })
}

fn completed(execution: &Execution) -> Option<&Condition> {
    let mut conditions = execution.conditions.iter();
    conditions.find(|condition| condition.r#type == "Completed")
}

/// One whose image is missing has no task that could have completed: its condition tells.
fn is_over(execution: &Execution) -> bool {
    let condition = completed(execution).is_some_and(|condition| {
        matches!(
            condition.state,
            State::ConditionFailed | State::ConditionSucceeded
        )
    });
    let ended = execution.completion_time.is_some() || execution.delete_time.is_some();
    execution.running_count == 0 && (ended || condition)
}
