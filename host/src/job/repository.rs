//! The request's repository: cloned before anything else is put into the workspace.

use std::sync::Arc;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::admission::{GitAccess, Request};
use crate::config::Config;
use crate::git::{self, CloneError, Repository, RepositoryUrl, Scheme, Source, Workplace};
use crate::isolation::Sandbox;
use crate::outbound::Outbound;
use crate::redact::Redactor;
use crate::task::{ClonedRepository, EventLog, Reason, TaskId};

/// What the request asks to be cloned, if anything.
pub(super) fn source(request: &Request) -> Result<Option<Source>, Failure> {
    let Some(written) = &request.git_repo else {
        return Ok(None);
    };
    let url = RepositoryUrl::parse(written)
        .map_err(|sentence| Failure::told(Reason::Setup, format!("gitRepo {sentence}")))?;
    let url = match request.ssh_key {
        Some(_) => url.over_ssh(),
        None => url,
    };
    Ok(Some(Source {
        revision: request.git_branch.clone(),
        depth: request.git_depth.unwrap_or(1),
        submodules: request.git_submodules,
        lfs: request.git_lfs,
        key: request.ssh_key.clone(),
        token: request
            .git_token
            .clone()
            .filter(|_| url.scheme == Scheme::Https),
        agent_may_sign: request.git_access == GitAccess::Agent,
        url,
    }))
}

/// Who works, and where.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) config: &'a Config,
    pub(super) task: &'a TaskId,
    pub(super) agent: &'a Arc<Sandbox>,
    pub(super) git: &'a Arc<Sandbox>,
    pub(super) log: &'a EventLog,
    pub(super) stop: CancellationToken,
}

/// Clones it; what is known of it, and the repository to push to later.
pub(super) async fn clone(
    source: Source,
    site: Site<'_>,
    secrets: Vec<&SecretString>,
) -> Result<Repository, Failure> {
    let outbound = Outbound::new(site.config)
        .map_err(|source| Failure::fault("making the dialler", source))?;
    let place = Workplace {
        settings: &site.config.git,
        outbound: &outbound,
        agent: Arc::clone(site.agent),
        git: Arc::clone(site.git),
        log: site.log,
        task: site.task.clone(),
        stop: site.stop,
    };
    match git::clone(source, place).await {
        Ok(repository) => Ok(repository.guard(secrets)),
        Err(CloneError::Told { sentence, detail }) => {
            let detail = Redactor::new(secrets).text(&detail);
            tracing::info!(detail, "the repository cannot be cloned");
            let sentence = format!("Failed to clone repository: {sentence}");
            Err(Failure::told(Reason::Setup, sentence))
        }
        Err(error) => Err(Failure::fault("cloning the repository", error)),
    }
}

/// For the record.
pub(super) fn describe(repository: &Repository) -> ClonedRepository {
    use crate::plugin::GitRepository as _;
    let cloned = repository.cloned();
    ClonedRepository {
        url: cloned.url,
        branch: cloned.branch,
        commit: Some(cloned.commit).filter(|commit| !commit.is_empty()),
    }
}
