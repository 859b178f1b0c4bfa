//! `gatehouse run-job`: one task, in a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use tracing::error;

use crate::config::Config;
use crate::envelope::{self, Envelope};
use crate::isolation::Isolation;
use crate::job::Job;
use crate::task::TaskId;

pub(super) async fn run(config: Config, task_id: &str) -> ExitCode {
    // On a thread of the runtime: here each step of the conversation with the agent would be handed
    // over to this thread by the one that waits for input.
    let work = tokio::spawn(work(config, task_id.to_owned()));
    match work.await.map_err(anyhow::Error::from).flatten() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(task = task_id, error = %failure, "the job failed; the gateway will report the task");
            ExitCode::FAILURE
        }
    }
}

async fn work(config: Config, task_id: String) -> anyhow::Result<()> {
    let id: TaskId = task_id.parse()?;
    let bucket = crate::bucket::open(&config).await?;
    let envelope = Envelope::new(envelope::keys(&config).await?, &config.envelope);
    let isolation = Isolation::detect(&config)?;
    Job::new(Arc::new(config), bucket, envelope, isolation)
        .run(id)
        .await?;
    Ok(())
}
