//! Before a checkout: the objects that it needs.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::endpoint::Endpoint;
use super::pointer::{self, Pointer};
use super::session::{Job, Session};
use super::{AT_ONCE, BATCH, Lfs, LfsError, Operation, PROGRAM, place_of};
use crate::git::checkout::agents_git;
use crate::git::fetch::Bare;
use crate::git::program;
use crate::git::remote::Remote;
use crate::git::run::Until;
use crate::isolation::Sandbox;
use crate::task::EventLog;

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(500);

/// A working tree to be: a repository of the agent's into which nothing is checked out yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::git) struct Place<'a> {
    pub(in crate::git) agent: &'a Sandbox,
    pub(in crate::git) directory: &'a Path,
    /// Told how it goes.
    pub(in crate::git) log: &'a EventLog,
}

impl Lfs {
    /// Puts everything there that checking `commit` out needs: the filters that make files of objects, and
    /// the objects, checked.
    pub(in crate::git) async fn prepare(
        &self,
        remote: &Remote,
        bare: &Bare,
        commit: Option<&str>,
        place: Place<'_>,
        until: &Until,
    ) -> Result<(), LfsError> {
        // Hooks are the program's own to make, when the agent's git first runs it.
        agents_git(place.agent, place.directory, until)
            .run(&["lfs", "install", "--local", "--skip-repo"])
            .await?;
        let Some(commit) = commit else { return Ok(()) };
        let pointers = pointer::find(&bare.git(until), &["--no-walk", commit]).await?;
        let bytes = self.measure(&pointers)?;
        if pointers.is_empty() {
            return Ok(());
        }
        let objects = pointers.len();
        let said = json!({"phase": "clone", "state": "lfs", "objects": objects, "bytes": bytes});
        place.log.say(said).await;
        let session = Session {
            outbound: self.outbound.clone(),
            endpoint: Endpoint::of(remote, bare, Operation::Download, until).await?,
            operation: Operation::Download,
        };
        let work = download_all(&session, &pointers, place);
        until.bound("lfs fetch", work).await
    }
}

/// Where nobody asked for LFS, its files are like all others, also on a machine that has the filters set up
/// for everybody: the agent's git would make pointers with them, whose objects nobody sends.
pub(in crate::git) async fn switch_off(place: Place<'_>, until: &Until) -> Result<(), LfsError> {
    if program(PROGRAM).is_none() {
        return Ok(());
    }
    let git = agents_git(place.agent, place.directory, until);
    for (name, value) in [("filter.lfs.process", ""), ("filter.lfs.required", "false")] {
        git.run(&["config", name, value]).await?;
    }
    Ok(())
}

async fn download_all(
    session: &Session,
    pointers: &[Pointer],
    place: Place<'_>,
) -> Result<(), LfsError> {
    let progress = Mutex::new((0, Instant::now()));
    for some in pointers.chunks(BATCH) {
        let jobs = session.batch(some).await?;
        let download = |job: Job| {
            let progress = &progress;
            async move {
                download_one(session, &job, place).await?;
                if let Some(done) = due(progress) {
                    let text = format!("Fetching LFS objects: {done} of {}", pointers.len());
                    let said = json!({"phase": "clone", "state": "progress", "text": text});
                    place.log.say(said).await;
                }
                Ok::<(), LfsError>(())
            }
        };
        futures::stream::iter(jobs)
            .map(download)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    Ok(())
}

/// Counts one more; the number where it is time to tell it.
fn due(progress: &Mutex<(usize, Instant)>) -> Option<usize> {
    let mut progress = progress.lock().ok()?;
    progress.0 += 1;
    let told = (progress.1.elapsed() >= PROGRESS).then_some(progress.0)?;
    progress.1 = Instant::now();
    Some(told)
}

async fn download_one(session: &Session, job: &Job, place: Place<'_>) -> Result<(), LfsError> {
    let path = place
        .directory
        .join(".git")
        .join(place_of(&job.pointer.oid));
    let file = place
        .agent
        .create_for_agent(&path)
        .map_err(crate::git::run::RunError::from)?;
    session.download(job, tokio::fs::File::from_std(file)).await
}
