//! The processes of executions: each attempt is one, in a group of its own.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::state::ExecutionState;
use crate::server::Shared;

/// Between SIGTERM and SIGKILL, as on Cloud Run.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the execution's attempts until one ends well, its time is over, or it is cancelled.
pub(super) fn start(shared: &Arc<Shared>, name: &str) {
    let (shared, name) = (Arc::clone(shared), name.to_owned());
    tokio::spawn(async move {
        let state = attempts(&shared, &name).await;
        shared.runs().end(&name, state);
    });
}

async fn attempts(shared: &Arc<Shared>, name: &str) -> ExecutionState {
    let mut attempt = 0;
    loop {
        let Some((child, mut cancelled, template)) = spawn(shared, name, attempt) else {
            return ExecutionState::Failed;
        };
        let time = template.timeout / template.haste.max(1);
        let ended = watched(child, &mut cancelled, time).await;
        if let Some(execution) = shared.runs().execution(name) {
            execution.pid = None;
        }
        if *cancelled.borrow() {
            return ExecutionState::Cancelled;
        }
        if ended {
            return ExecutionState::Succeeded;
        }
        if attempt >= template.max_retries {
            return ExecutionState::Failed;
        }
        attempt += 1;
    }
}

type Spawned = (Child, watch::Receiver<bool>, super::JobTemplate);

/// None where it cannot have a process.
fn spawn(shared: &Arc<Shared>, name: &str, attempt: u32) -> Option<Spawned> {
    let mut runs = shared.runs();
    let execution = runs.execution(name)?;
    let template = execution.template.clone();
    if template.image_missing {
        return None;
    }
    let (program, arguments) = template.command.split_first()?;
    let short = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let output = || match &template.output {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map_or_else(|_| Stdio::null(), Stdio::from)
        }
        None => Stdio::null(),
    };
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&template.env)
        .env("CLOUD_RUN_JOB", short(&execution.job))
        .env("CLOUD_RUN_EXECUTION", short(name))
        .env("CLOUD_RUN_TASK_INDEX", "0")
        .env("CLOUD_RUN_TASK_COUNT", "1")
        .env("CLOUD_RUN_TASK_ATTEMPT", attempt.to_string())
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output())
        .process_group(0)
        .spawn()
        .ok()?;
    execution.attempt = attempt;
    execution.pid = child.id();
    Some((child, execution.cancelled.subscribe(), template))
}

/// True where it ended well by itself.
async fn watched(
    mut child: Child,
    cancelled: &mut watch::Receiver<bool>,
    timeout: Duration,
) -> bool {
    let pid = child.id();
    let over = tokio::select! {
        status = child.wait() => Some(status),
        _ = cancelled.wait_for(|cancelled| *cancelled) => None,
        () = tokio::time::sleep(timeout) => None,
    };
    if let Some(status) = over {
        return status.is_ok_and(|status| status.code() == Some(0) && status.signal().is_none());
    }
    // The container's first process is told; the end takes all of them.
    if let Some(pid) = pid.and_then(pid_of) {
        let _ = kill(pid, Signal::SIGTERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        pid.into_iter().for_each(end);
        let _ = child.wait().await;
    }
    false
}

fn pid_of(pid: u32) -> Option<Pid> {
    Some(Pid::from_raw(
        i32::try_from(pid).ok().filter(|pid| *pid > 1)?,
    ))
}

/// Ends a group whose leader nobody has waited for yet, so that its number is still its own.
pub(crate) fn end(pid: u32) {
    if let Some(pid) = pid_of(pid) {
        let _ = killpg(pid, Signal::SIGKILL);
    }
}
