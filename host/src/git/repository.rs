//! The repository of one task, as post-execution plugins reach it.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::clone::{Workplace, agents_environment};
use super::explain;
use super::fetch::Bare;
use super::lfs::Lfs;
use super::push::PushError;
use super::remote::Remote;
use super::run::{RunError, Until};
use super::scan::Scanner;
use super::ssh_agent::SshAgent;
use crate::bucket::Bucket;
use crate::config;
use crate::isolation::Sandbox;
use crate::plugin::{Change, Cloned, Commit, Committed, Failure, GitRepository, Push, Pushed};
use crate::redact::Redactor;
use crate::task::{TaskId, names};

/// What was cloned, and by whom it can be reached.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) remote: Remote,
    pub(super) bare: Bare,
    /// None where a tag or a commit was asked for.
    pub(super) branch: Option<String>,
    /// None where the remote had no commit.
    pub(super) base: Option<String>,
}

/// A cloned repository. It can be pushed to for as long as this lives.
#[derive(Debug)]
pub struct Repository {
    pub(super) origin: Origin,
    pub(super) agent: Arc<Sandbox>,
    pub(super) settings: config::Git,
    /// Paths that the host put into the workspace, from its root.
    pub(super) ours: Vec<String>,
    pub(super) scanner: Scanner,
    /// Where files of LFS were asked for.
    pub(super) lfs: Option<Lfs>,
    pub(super) task: TaskId,
    stop: CancellationToken,
    redactor: Redactor,
    /// Where commits are kept that could not be pushed.
    keep: Option<Arc<dyn Bucket>>,
    /// This program as the agent's git starts it, where it may use the key.
    ssh: Option<PathBuf>,
    _key: Option<SshAgent>,
}

/// Name of the artefact with what could not be pushed.
const UNPUSHED: &str = "unpushed.bundle";

impl Repository {
    pub(super) fn new(
        origin: Origin,
        key: Option<SshAgent>,
        place: &Workplace<'_>,
        ssh: Option<PathBuf>,
        lfs: Option<Lfs>,
    ) -> Self {
        Self {
            origin,
            agent: Arc::clone(&place.agent),
            settings: place.settings.clone(),
            ours: Vec::new(),
            scanner: Scanner::default(),
            lfs,
            task: place.task.clone(),
            stop: place.stop.clone(),
            redactor: Redactor::default(),
            keep: None,
            ssh: ssh.filter(|_| key.is_some()),
            _key: key,
        }
    }

    /// What never leaves: known values in the diff stop a push, and are taken out of every sentence.
    pub fn guard<'a>(mut self, secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let redactor = Redactor::new(secrets);
        self.scanner = Scanner::new(redactor.clone());
        self.redactor = redactor;
        self
    }

    /// Paths of the workspace that never get into a commit.
    pub fn leave_out(mut self, paths: impl IntoIterator<Item = String>) -> Self {
        self.ours.extend(paths);
        self
    }

    /// Keeps as an artefact of the task what could not be pushed.
    pub fn keep_in(mut self, bucket: Arc<dyn Bucket>) -> Self {
        self.keep = Some(bucket);
        self
    }

    /// From here on only the time of the actions limits what is done: the agent is gone.
    pub fn outlive(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// What the agent's environment gets, so that its own git can use the key.
    pub fn agents_environment(&self) -> Vec<(String, String)> {
        match &self.ssh {
            Some(ssh) => agents_environment(&self.agent, ssh, self.settings.accept_unknown_hosts),
            None => Vec::new(),
        }
    }

    pub(super) fn until(&self) -> Until {
        Until::within(self.settings.push_timeout, self.stop.clone())
    }

    /// For the log: what git, the agent or a server said, without what the task knows to be secret.
    pub(super) fn redacted(&self, error: &RunError) -> String {
        self.redactor.text(&error.to_string())
    }

    fn failure(&self, error: &RunError) -> Failure {
        tracing::warn!(error = self.redacted(error), "git failed");
        let (code, sentence) = explain::push(error);
        Failure::new(code, self.redactor.text(&sentence))
    }

    /// Nothing that was made is lost because it could not be pushed. What must not leave is not kept
    /// either.
    async fn keep(&self, failure: Failure) -> Failure {
        let (Some(bucket), false) = (&self.keep, failure.code == "secret-found") else {
            return failure;
        };
        let kept = async {
            let file = tokio::fs::File::open(self.unpushed()).await.ok()?;
            let name = format!("{}{UNPUSHED}", names::artifacts(&self.task));
            bucket
                .upload(&name, file, self.settings.max_push_size)
                .await
                .ok()
        };
        match kept.await {
            Some(_) => Failure::new(
                failure.code,
                format!(
                    "{} The commits are kept as the artefact {UNPUSHED}.",
                    failure.message
                ),
            ),
            None => failure,
        }
    }
}

#[async_trait]
impl GitRepository for Repository {
    fn cloned(&self) -> Cloned {
        Cloned {
            url: self.origin.remote.url.to_string(),
            branch: self.origin.branch.clone(),
            commit: self.origin.base.clone().unwrap_or_default(),
        }
    }

    async fn changes(&self) -> Result<Vec<Change>, Failure> {
        let until = self.until();
        self.list_changes(&until)
            .await
            .map_err(|error| self.failure(&error))
    }

    async fn commit(&self, commit: Commit) -> Result<Option<Committed>, Failure> {
        let until = self.until();
        self.make_commit(commit, &until)
            .await
            .map_err(|error| self.failure(&error))
    }

    async fn push(&self, push: Push) -> Result<Pushed, Failure> {
        let until = self.until();
        let failure = match self.push_all(&push, &until).await {
            Ok(pushed) => return Ok(pushed),
            Err(PushError::Told(code, sentence)) => {
                Failure::new(code, self.redactor.text(&sentence))
            }
            Err(PushError::Run(error)) => self.failure(&error),
        };
        Err(self.keep(failure).await)
    }

    async fn message(&self, sha: &str) -> Option<String> {
        if sha.is_empty() || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let until = self.until();
        let git = self.origin.bare.git(&until);
        let message = ["log", "-1", "--no-show-signature", "--format=%B", sha];
        match git.run(&message).await {
            // Without the newline that `log` adds.
            Ok(message) => Some(format!(
                "{}\n",
                String::from_utf8_lossy(&message).trim_end_matches('\n')
            )),
            Err(error) => {
                tracing::debug!(
                    error = self.redacted(&error),
                    "a commit's message cannot be read"
                );
                None
            }
        }
    }
}
