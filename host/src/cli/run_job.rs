//! `gatehouse run-job`: one task, in a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tracing::{error, info};

use crate::config::Config;
use crate::envelope::{self, Envelope};
use crate::isolation::Isolation;
use crate::job::{Job, Start};
use crate::task::{Reason, Record, Status, TaskId};

/// What Cloud Run, and whoever started the job there, say in its environment.
#[derive(Debug, Args)]
pub(super) struct Platform {
    /// Which start of the task's job this is
    #[arg(long, env = "TASK_RUN_ID", hide = true)]
    run_id: Option<String>,
    /// The execution that this process is of
    #[arg(long, env = "CLOUD_RUN_EXECUTION", hide = true)]
    execution: Option<String>,
    /// How often it was started again
    #[arg(long, env = "CLOUD_RUN_TASK_ATTEMPT", hide = true, default_value_t = 0)]
    attempt: u32,
}

pub(super) async fn run(config: Config, task_id: &str, platform: Platform) -> ExitCode {
    // On a thread of the runtime: here each step of the conversation with the agent would be handed
    // over to this thread by the one that waits for input.
    let is_execution = platform.execution.is_some();
    if let Some(execution) = &platform.execution {
        info!(
            task = task_id,
            execution,
            attempt = platform.attempt,
            "an execution of Cloud Run"
        );
    }
    let start = Start {
        run_id: platform.run_id,
        attempt: platform.attempt,
    };
    let work = tokio::spawn(work(config, task_id.to_owned(), start));
    match work.await.map_err(anyhow::Error::from).flatten() {
        // For people who look at executions. A gateway that starts a process wants to know whether it
        // wrote its task's end.
        Ok(Some(record)) if is_execution => {
            let code = code_of(&record);
            if code != 0 {
                info!(
                    task = task_id,
                    code,
                    "the task's end is written, and this process ends as it did; started again it will find nothing to do"
                );
            }
            ExitCode::from(code)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(task = task_id, error = %failure, "the job failed; the gateway will report the task");
            ExitCode::FAILURE
        }
    }
}

/// 0 completed, 130 cancelled, 124 timed out, 1 failed otherwise.
fn code_of(record: &Record) -> u8 {
    match (record.status, record.reason) {
        (Status::Completed, _) => 0,
        (Status::Cancelled, _) => 130,
        (_, Some(Reason::TimedOut)) => 124,
        _ => 1,
    }
}

async fn work(config: Config, task_id: String, start: Start) -> anyhow::Result<Option<Record>> {
    let id: TaskId = task_id.parse()?;
    let bucket = crate::bucket::open(&config).await?;
    let envelope = Envelope::new(envelope::keys(&config).await?, &config.envelope);
    let isolation = Isolation::detect(&config)?;
    let job = Job::new(Arc::new(config), bucket, envelope, isolation);
    Ok(job.run(id, start).await?)
}
