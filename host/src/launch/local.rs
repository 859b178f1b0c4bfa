//! Jobs as sub-processes of this binary that outlive it.
//!
//! A job is in a session of its own and holds nothing of the gateway but its log file, so that it
//! runs on when the gateway is stopped, restarted or its terminal goes away. Another gateway finds it
//! by its process number and start time.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use async_trait::async_trait;
use tokio::process::{Child, Command};

use super::job_logs::JobLogs;
use super::process::JobProcess;
use super::{LaunchError, Launcher};
use crate::config::Config;
use crate::isolation::Isolation;
use crate::task::{Record, TaskId, names};

/// Starts `gatehouse run-job`.
#[derive(Debug)]
pub struct LocalLauncher {
    exe: PathBuf,
    environment: BTreeMap<String, String>,
    logs: JobLogs,
    isolation: Isolation,
}

impl LocalLauncher {
    /// Starts jobs as `{exe} run-job` with exactly `environment`, beside the task's own two variables.
    pub fn new(
        config: &Config,
        exe: PathBuf,
        environment: BTreeMap<String, String>,
        isolation: Isolation,
    ) -> Self {
        Self {
            exe,
            environment,
            logs: JobLogs::new(config.data_dir.join("jobs")),
            isolation,
        }
    }

    fn spawn(&self, id: &TaskId) -> io::Result<(Child, JobProcess)> {
        let log = self.logs.open(id)?;
        let mut command = Command::new(&self.exe);
        command
            .arg("run-job")
            .env_clear()
            .envs(&self.environment)
            .env("TASK_ID", id.as_str())
            .env("ENCRYPTED_PAYLOAD_PATH", names::payload(id))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        in_own_session(&mut command);
        let child = command.spawn()?;
        // Nobody has waited for the child yet, so its number is still its own, even if it is dead.
        let process = child
            .id()
            .map_or(Err(io::ErrorKind::NotFound.into()), JobProcess::of_child)?;
        Ok((child, process))
    }
}

#[async_trait]
impl Launcher for LocalLauncher {
    async fn start(&self, id: &TaskId) -> Result<String, LaunchError> {
        let (child, process) = self
            .spawn(id)
            .map_err(|error| LaunchError(error.to_string()))?;
        tracing::info!(task = %id, job = %process, "started a job");
        tokio::spawn(reap(child, self.logs.clone(), id.clone()));
        Ok(process.to_string())
    }

    async fn gone(&self, record: &Record) {
        if let Some(process) = process_of(record) {
            process.ended().await;
        }
    }

    async fn kill(&self, record: &Record) {
        let Some(process) = process_of(record) else {
            return;
        };
        match process.kill() {
            Ok(()) => tracing::warn!(task = %record.task_id, job = %process, "killed a job"),
            Err(error) => {
                tracing::error!(task = %record.task_id, job = %process, %error, "a job cannot be killed")
            }
        }
    }

    async fn sweep(&self, id: &TaskId) {
        let (isolation, task) = (self.isolation.clone(), id.clone());
        let swept = tokio::task::spawn_blocking(move || isolation.sweep(&task)).await;
        match swept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(task = %id, %error, "what a job left cannot be removed")
            }
            Err(error) => tracing::error!(task = %id, %error, "what a job left cannot be removed"),
        }
    }
}

fn process_of(record: &Record) -> Option<JobProcess> {
    JobProcess::parse(record.execution_name.as_deref()?)
}

/// Waits for the child, so that it does not stay as a zombie, and settles its log.
async fn reap(mut child: Child, logs: JobLogs, id: TaskId) {
    let settled = match child.wait().await {
        Ok(status) if status.success() => logs.remove(&id),
        Ok(status) => {
            tracing::warn!(task = %id, %status, "a job ended badly; its log is kept");
            logs.keep(&id)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = settled {
        tracing::warn!(task = %id, %error, "a job's log cannot be settled");
    }
}

#[expect(
    unsafe_code,
    reason = "the standard library has no safe way to make a session"
)]
fn in_own_session(command: &mut Command) {
    let new_session = || {
        rustix::process::setsid()?;
        Ok(())
    };
    // SAFETY: between fork and exec only what is safe in a signal handler may be called; setsid is one
    // system call, which allocates nothing and takes no lock.
    unsafe { command.pre_exec(new_session) };
}
