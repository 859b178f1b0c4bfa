//! Jobs as sub-processes of this binary that outlive it.
//!
//! A job is in a session of its own and holds nothing of the gateway but its log file, so that it
//! runs on when the gateway is stopped, restarted or its terminal goes away. Another gateway finds it
//! by its process number and start time.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

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
    children: Children,
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
            children: Children::default(),
            isolation,
        }
    }

    fn spawn(&self, id: &TaskId) -> io::Result<(Child, JobProcess)> {
        let log = self.logs.open(id)?;
        let mut command = command(&self.exe, &self.environment, id);
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        // Nobody has waited for the child yet, so its number is still its own, even if it is dead.
        let process = child
            .id()
            .map_or(Err(io::ErrorKind::NotFound.into()), JobProcess::of_child)?;
        Ok((child, process))
    }
}

/// The jobs that this process started and has not waited for.
#[derive(Clone, Debug, Default)]
struct Children {
    reaped: Arc<Mutex<HashMap<JobProcess, CancellationToken>>>,
}

impl Children {
    fn lock(&self) -> MutexGuard<'_, HashMap<JobProcess, CancellationToken>> {
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, process: JobProcess) {
        self.lock().insert(process, CancellationToken::new());
    }

    fn remove(&self, process: &JobProcess) {
        if let Some(reaped) = self.lock().remove(process) {
            reaped.cancel();
        }
    }

    /// None where the process is no child of ours, or no more.
    fn reaped(&self, process: &JobProcess) -> Option<CancellationToken> {
        self.lock().get(process).cloned()
    }
}

#[async_trait]
impl Launcher for LocalLauncher {
    async fn start(&self, record: &Record) -> Result<String, LaunchError> {
        let id = &record.task_id;
        let (child, process) = self.spawn(id).map_err(|error| LaunchError::Refused {
            told: "The job could not be started.",
            detail: error.to_string(),
        })?;
        tracing::info!(task = %id, job = %process, "started a job");
        self.children.add(process);
        let (children, logs, id) = (self.children.clone(), self.logs.clone(), id.clone());
        tokio::spawn(async move {
            reap(child, &logs, &id).await;
            children.remove(&process);
        });
        Ok(process.to_string())
    }

    async fn is_gone(&self, record: &Record) -> bool {
        let Some(process) = process_of(record) else {
            return true;
        };
        self.children.reaped(&process).is_none() && !process.is_there()
    }

    async fn gone(&self, record: &Record) {
        let Some(process) = process_of(record) else {
            return;
        };
        match self.children.reaped(&process) {
            // A child that is dead and not waited for still looks alive to whoever reads `/proc`.
            Some(reaped) => reaped.cancelled().await,
            None => process.ended().await,
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
async fn reap(mut child: Child, logs: &JobLogs, id: &TaskId) {
    let settled = match child.wait().await {
        Ok(status) if status.success() => logs.remove(id),
        Ok(status) => {
            tracing::warn!(task = %id, %status, "a job ended badly; its log is kept");
            logs.keep(id)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = settled {
        tracing::warn!(task = %id, %error, "a job's log cannot be settled");
    }
}

/// The job's command but for where its output goes.
fn command(exe: &Path, environment: &BTreeMap<String, String>, id: &TaskId) -> Command {
    let mut command = Command::new(exe);
    command
        .arg("run-job")
        .env_clear()
        .envs(environment)
        .env("TASK_ID", id.as_str())
        .env("ENCRYPTED_PAYLOAD_PATH", names::payload(id))
        .stdin(Stdio::null());
    in_own_session(&mut command);
    command
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

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const JOB: &str = r#"#!/bin/sh
echo "$@"
cut -d' ' -f6 /proc/$$/stat
echo $$
readlink /proc/$$/fd/0
env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort
"#;

    #[tokio::test]
    async fn a_job_has_its_own_session_no_input_and_exactly_its_environment() {
        let folder = tempfile::tempdir().unwrap();
        let exe = folder.path().join("job");
        std::fs::write(&exe, JOB).unwrap();
        std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).unwrap();
        let environment = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        let output = command(&exe, &environment, &"t1".parse().unwrap())
            .output()
            .await
            .unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[0], "run-job");
        assert_eq!(
            lines[1], lines[2],
            "the session is named by the job's own number"
        );
        assert_eq!(lines[3], "/dev/null");
        assert_eq!(
            lines[4..],
            [
                "ENCRYPTED_PAYLOAD_PATH=tasks/t1/payload.enc",
                "PATH=/usr/bin:/bin",
                "TASK_ID=t1"
            ]
        );
    }
}
