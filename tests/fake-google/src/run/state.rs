//! What is known of jobs and executions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Executions that are kept; the oldest go first, as Google's do.
const KEPT: usize = 1000;

/// A deployed job.
#[derive(Clone, Debug)]
pub struct JobTemplate {
    /// Program and arguments.
    pub command: Vec<String>,
    /// All of its environment, beside what Cloud Run sets and a request overrides.
    pub env: BTreeMap<String, String>,
    /// How often a task that ends badly is started again.
    pub max_retries: u32,
    /// What an execution may take where the request does not say.
    pub timeout: Duration,
    /// How many times faster than by the clock that time is over, whoever said it.
    pub haste: u32,
    /// Every execution fails before it has a process.
    pub image_missing: bool,
    /// Where all output is appended; none: it is lost.
    pub output: Option<PathBuf>,
}

impl JobTemplate {
    /// Runs this program with this environment, once, for ten minutes at most.
    pub fn new(command: impl IntoIterator<Item = String>, env: BTreeMap<String, String>) -> Self {
        Self {
            command: command.into_iter().collect(),
            env,
            max_retries: 0,
            timeout: Duration::from_secs(600),
            haste: 1,
            image_missing: false,
            output: None,
        }
    }
}

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionState {
    /// It has a process, or is about to.
    Running,
    /// Its process ended with 0.
    Succeeded,
    /// It ended otherwise.
    Failed,
    /// Its end was asked for.
    Cancelled,
}

/// What a request changes for its execution.
#[derive(Debug, Default)]
pub(crate) struct Override {
    env: Vec<(String, String)>,
    timeout: Option<Duration>,
}

impl Override {
    /// Only what Google has: no command, no image, no resources.
    pub(super) fn of(body: &Value) -> Result<Self, String> {
        let list = |value: &Value, field: &str| {
            let list = value.get(field).and_then(Value::as_array);
            list.cloned().unwrap_or_default()
        };
        let overrides = body.get("overrides").unwrap_or(&Value::Null);
        let mut all = Self::default();
        for container in list(overrides, "containerOverrides") {
            for key in container
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key)
            {
                if !["name", "args", "env", "clearArgs"].contains(&key.as_str()) {
                    return Err(format!(
                        "Unknown name \"{key}\" at 'overrides.container_overrides[0]'"
                    ));
                }
            }
            for variable in list(&container, "env") {
                let text = |field: &str| {
                    let text = variable.get(field).and_then(Value::as_str);
                    text.unwrap_or_default().to_owned()
                };
                all.env.push((text("name"), text("value")));
            }
        }
        if let Some(timeout) = overrides.get("timeout").and_then(Value::as_str) {
            let seconds = timeout.strip_suffix('s').and_then(|text| text.parse().ok());
            let seconds: f64 = seconds.ok_or_else(|| format!("Illegal duration: {timeout}"))?;
            all.timeout = Some(Duration::from_secs_f64(seconds));
        }
        Ok(all)
    }
}

#[derive(Debug)]
pub(super) struct Execution {
    pub(super) job: String,
    pub(super) template: JobTemplate,
    pub(super) state: ExecutionState,
    pub(super) attempt: u32,
    /// Its process group.
    pub(super) pid: Option<u32>,
    pub(super) cancelled: watch::Sender<bool>,
    created: Timestamp,
    completed: Option<Timestamp>,
}

/// All jobs and executions.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    jobs: BTreeMap<String, JobTemplate>,
    executions: BTreeMap<String, Execution>,
    begun: u64,
}

impl Runs {
    pub(crate) fn deploy(&mut self, job: &str, template: JobTemplate) {
        self.jobs.insert(job.to_owned(), template);
    }

    pub(super) fn has_job(&self, job: &str) -> bool {
        self.jobs.contains_key(job)
    }

    /// A new execution; none where there is no such job.
    pub(super) fn begin(&mut self, job: &str, overrides: &Override) -> Option<String> {
        let mut template = self.jobs.get(job)?.clone();
        template.env.extend(overrides.env.iter().cloned());
        template.timeout = overrides.timeout.unwrap_or(template.timeout);
        self.begun += 1;
        let short = job.rsplit('/').next().unwrap_or_default();
        let name = format!("{job}/executions/{short}-{:05}", self.begun);
        if self.executions.len() >= KEPT {
            self.executions.pop_first();
        }
        let execution = Execution {
            job: job.to_owned(),
            template,
            state: ExecutionState::Running,
            attempt: 0,
            pid: None,
            cancelled: watch::channel(false).0,
            created: Timestamp::now(),
            completed: None,
        };
        self.executions.insert(name.clone(), execution);
        Some(name)
    }

    pub(super) fn execution(&mut self, name: &str) -> Option<&mut Execution> {
        self.executions.get_mut(name)
    }

    pub(super) fn end(&mut self, name: &str, state: ExecutionState) {
        if let Some(execution) = self.executions.get_mut(name) {
            execution.state = state;
            execution.pid = None;
            // One that never had a process is never completed, by what Google calls so.
            execution.completed = (!execution.template.image_missing).then(Timestamp::now);
        }
    }

    /// False where it is over; none where it is not there.
    pub(super) fn cancel(&mut self, name: &str) -> Option<bool> {
        let execution = self.executions.get(name)?;
        let runs = execution.state == ExecutionState::Running;
        if runs {
            execution.cancelled.send_replace(true);
        }
        Some(runs)
    }

    pub(crate) fn delete(&mut self, name: &str) {
        if let Some(execution) = self.executions.remove(name) {
            execution.cancelled.send_replace(true);
        }
    }

    pub(super) fn is_over(&self, name: &str) -> bool {
        self.state(name) != Some(ExecutionState::Running)
    }

    pub(crate) fn state(&self, name: &str) -> Option<ExecutionState> {
        Some(self.executions.get(name)?.state)
    }

    pub(crate) fn all(&self) -> Vec<(String, ExecutionState)> {
        let executions = self.executions.iter();
        executions
            .map(|(name, one)| (name.clone(), one.state))
            .collect()
    }

    /// Process groups that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.executions.values().filter_map(|one| one.pid).collect()
    }

    /// The whole name of an execution.
    pub(super) fn named(&self, short: &str) -> Option<String> {
        let mut names = self.executions.keys();
        names
            .find(|name| name.rsplit('/').next() == Some(short))
            .cloned()
    }

    /// Newest first.
    pub(super) fn names_of(&self, job: &str) -> Vec<String> {
        let executions = self.executions.iter().rev();
        executions
            .filter(|(_, execution)| execution.job == job)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// As Google shows it, with enumerations as numbers.
    pub(super) fn described(&self, name: &str) -> Option<Value> {
        use ExecutionState::{Cancelled, Failed, Running, Succeeded};
        let execution = self.executions.get(name)?;
        let count = |state| u32::from(execution.state == state);
        let env: Vec<Value> = execution
            .template
            .env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let condition = match execution.state {
            Running => json!({"type": "Completed", "state": 2}),
            Succeeded => json!({"type": "Completed", "state": 4}),
            Failed if execution.template.image_missing => json!({
                "type": "Completed", "state": 3, "reason": 5,
                "message": "Image 'registry.invalid/gatehouse' not found.",
            }),
            Failed => json!({
                "type": "Completed", "state": 3, "executionReason": 2,
                "message": "Task failed with message: The container exited with an error.",
            }),
            Cancelled => json!({
                "type": "Completed", "state": 3, "executionReason": 3,
                "message": "Execution was cancelled.",
            }),
        };
        let described = json!({
            "name": name,
            "uid": format!("uid-{}", name.rsplit('/').next().unwrap_or_default()),
            "generation": "1",
            "createTime": execution.created.to_string(),
            "startTime": execution.created.to_string(),
            "updateTime": Timestamp::now().to_string(),
            "job": execution.job,
            "parallelism": 1,
            "taskCount": 1,
            "template": {
                "containers": [{"image": "registry.invalid/gatehouse", "env": env}],
                "maxRetries": execution.template.max_retries,
                "timeout": format!("{}s", execution.template.timeout.as_secs()),
            },
            "reconciling": execution.state == Running,
            "conditions": [condition],
            "runningCount": u32::from(execution.pid.is_some()),
            "succeededCount": count(Succeeded),
            "failedCount": count(Failed),
            "cancelledCount": count(Cancelled),
            "retriedCount": execution.attempt,
            "completionTime": execution.completed.map(|at| at.to_string()),
        });
        Some(described)
    }
}
