//! From a request to a working tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::checkout::{Checkout, check_out, lay_out};
use super::explain;
use super::fetch::{Bare, Found};
use super::lfs::{self, Lfs};
use super::remote::{KNOWN_HOSTS, Remote, RemoteError, Surroundings, ssh_environment};
use super::repository::{Origin, Repository};
use super::run::{RunError, Until};
use super::ssh_agent::SshAgent;
use super::submodules::{self, SubmoduleError};
use super::url::{RepositoryUrl, Scheme};
use super::{known_hosts, ssh_agent};
use crate::config;
use crate::isolation::Sandbox;
use crate::outbound::Outbound;
use crate::task::{EventLog, TaskId};

/// Lines of progress that are passed on: at most one in this time.
const PROGRESS: std::time::Duration = std::time::Duration::from_millis(500);

/// What to clone, and by what right.
#[derive(Debug)]
pub struct Source {
    /// Already by SSH where a key is given.
    pub url: RepositoryUrl,
    /// Branch, tag or full id; none is the remote's own default branch.
    pub revision: Option<String>,
    /// Commits of history.
    pub depth: u32,
    /// Whether submodules are cloned, too.
    pub submodules: bool,
    /// Whether files of Git LFS are filled in.
    pub lfs: bool,
    /// For SSH.
    pub key: Option<SecretString>,
    /// For HTTPS.
    pub token: Option<SecretString>,
    /// Whether the agent's own git may use the key.
    pub agent_may_sign: bool,
}

/// Where to clone, and what to work with.
#[derive(Debug)]
pub struct Workplace<'a> {
    /// `[git]`
    pub settings: &'a config::Git,
    /// Judges every server.
    pub outbound: &'a Outbound,
    /// Of the agent.
    pub agent: Arc<Sandbox>,
    /// Of what speaks to remotes.
    pub git: Arc<Sandbox>,
    /// Told how it goes.
    pub log: &'a EventLog,
    /// Whose it is.
    pub task: TaskId,
    /// Ends it early.
    pub stop: CancellationToken,
}

/// Why there is no working tree.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// A sentence for the caller that says what to do, without any credential.
    #[error("Failed to clone repository: {sentence}")]
    Told {
        /// Without what precedes it.
        sentence: String,
        /// For the log, once secrets are taken out of it.
        detail: String,
    },
    /// The task ends.
    #[error("the task was ended")]
    Stopped,
    /// A fault of ours or of the machine.
    #[error("{0}")]
    Fault(String),
}

impl CloneError {
    pub(super) fn told(sentence: impl Into<String>) -> Self {
        let detail = String::new();
        Self::Told {
            sentence: sentence.into(),
            detail,
        }
    }
}

impl From<RunError> for CloneError {
    fn from(error: RunError) -> Self {
        match explain::clone(&error) {
            Some(sentence) => {
                let detail = error.to_string();
                Self::Told { sentence, detail }
            }
            None if matches!(error, RunError::Stopped) => Self::Stopped,
            None => Self::Fault(error.to_string()),
        }
    }
}

impl From<RemoteError> for CloneError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Unreachable(error) => Self::Told {
                sentence: explain::unreachable(&error),
                detail: error.to_string(),
            },
            RemoteError::Settings(_) => Self::Fault(error.to_string()),
            RemoteError::Run(error) => error.into(),
        }
    }
}

impl From<SubmoduleError> for CloneError {
    fn from(error: SubmoduleError) -> Self {
        match error {
            SubmoduleError::Refused(sentence) => Self::told(format!("{sentence}.")),
            SubmoduleError::Run(error) => error.into(),
        }
    }
}

/// Clones into the agent's workspace, which is there and empty.
///
/// # Errors
/// [`CloneError`]; nothing that was started runs on.
pub async fn clone(source: Source, place: Workplace<'_>) -> Result<Repository, CloneError> {
    let until = Until::within(place.settings.clone_timeout, place.stop.clone());
    let ssh = this_program(&place.git).await?;
    let lfs = match source.lfs {
        true => Some(Lfs::new(place.settings, place.outbound)?),
        false => None,
    };
    let cloning = Cloning {
        source: &source,
        place: &place,
        until: &until,
        ssh: &ssh,
        lfs: lfs.as_ref(),
    };
    let (origin, key) = cloning.run().await?;
    Ok(Repository::new(
        origin,
        key,
        &place,
        source.agent_may_sign.then_some(ssh),
        lfs,
    ))
}

struct Cloning<'a> {
    source: &'a Source,
    place: &'a Workplace<'a>,
    until: &'a Until,
    ssh: &'a Path,
    lfs: Option<&'a Lfs>,
}

/// Where the users of the sandboxes can start this program.
async fn this_program(sandbox: &Sandbox) -> Result<PathBuf, CloneError> {
    let this = std::env::current_exe().map_err(RunError::from)?;
    Ok(sandbox
        .reachable_binary(&this)
        .await
        .map_err(RunError::from)?)
}

impl Cloning<'_> {
    async fn run(&self) -> Result<(Origin, Option<SshAgent>), CloneError> {
        let Self {
            source,
            place,
            until,
            ..
        } = self;
        let key = self.unlock().await?;
        let remote = self.reach(source.url.clone()).await?;
        let bare = Bare::init(Arc::clone(&place.git), "repository.git", until).await?;
        let shown = source.url.to_string();
        self.say(json!({"state": "started", "repository": shown}))
            .await;
        let (branch, base) = match bare
            .find(&remote, source.revision.as_deref(), until)
            .await?
        {
            Found::Missing => return Err(self.missing()),
            Found::Empty(branch) => (Some(branch), None),
            Found::Revision(resolved) => {
                let commit = self.fetch(&bare, &remote, &resolved, source.depth).await?;
                (resolved.branch, Some(commit))
            }
        };
        let checkout = Checkout {
            url: &shown,
            branch: branch.as_deref(),
            commit: base.as_deref(),
        };
        let workspace = place.agent.workspace();
        self.check_out(&remote, &bare, workspace, checkout).await?;
        if let (true, Some(commit)) = (source.submodules, &base) {
            self.submodules(&bare, &source.url, commit).await?;
        }
        self.say(json!({"state": "done", "branch": branch, "commit": base}))
            .await;
        Ok((
            Origin {
                remote,
                bare,
                branch,
                base,
            },
            key,
        ))
    }

    /// The key, ready to sign, and where the agent may use it the relay.
    async fn unlock(&self) -> Result<Option<SshAgent>, CloneError> {
        let (Some(key), Scheme::Ssh) = (&self.source.key, self.source.url.scheme) else {
            return Ok(None);
        };
        let mut agent = match SshAgent::start(&self.place.git, key, self.until).await {
            Err(RunError::Failed { .. }) => {
                return Err(CloneError::told(
                    "sshKey was not taken by ssh-add. Send a private key in PEM without a passphrase."
                        .to_owned(),
                ));
            }
            other => other?,
        };
        if self.source.agent_may_sign {
            self.share(&mut agent)?;
        }
        Ok(Some(agent))
    }

    fn share(&self, key: &mut SshAgent) -> Result<(), CloneError> {
        let (agent, settings) = (&self.place.agent, self.place.settings);
        key.relay_to(agent)?;
        let known = known_hosts::all(settings.known_hosts.as_deref())
            .map_err(|error| CloneError::Fault(error.to_string()))?;
        agent
            .write_for_agent(&agent.home().join(KNOWN_HOSTS), known.as_bytes())
            .map_err(RunError::from)?;
        Ok(())
    }

    async fn reach(&self, url: RepositoryUrl) -> Result<Remote, CloneError> {
        // A credential is for the server that the caller named.
        let same_host = url.host == self.source.url.host && url.port() == self.source.url.port();
        let token = self.source.token.clone().filter(|_| same_host);
        let around = Surroundings {
            settings: self.place.settings,
            outbound: self.place.outbound,
            sandbox: &self.place.git,
            ssh: self.ssh,
        };
        let reached = Remote::reach(url, token, around);
        tokio::select! {
            reached = reached => Ok(reached?),
            () = self.place.stop.cancelled() => Err(CloneError::Stopped),
        }
    }

    async fn fetch(
        &self,
        bare: &Bare,
        remote: &Remote,
        resolved: &super::fetch::Resolved,
        depth: u32,
    ) -> Result<String, CloneError> {
        let most = self.place.settings.max_clone_size;
        let (progress, mut told) = tokio::sync::mpsc::channel::<String>(1);
        let mut last: Option<Instant> = None;
        let note = move |line: &str| {
            let due = last.is_none_or(|last| last.elapsed() >= PROGRESS);
            // A line that finds no room is followed by another.
            if due && !line.trim().is_empty() && progress.try_send(line.trim().to_owned()).is_ok() {
                last = Some(Instant::now());
            }
        };
        let fetch = bare.fetch_base(remote, resolved, depth, most, self.until, note);
        let pass_on = async {
            while let Some(text) = told.recv().await {
                self.say(json!({"state": "progress", "text": text})).await;
            }
        };
        let (fetched, ()) = tokio::join!(fetch, pass_on);
        Ok(fetched?)
    }

    /// Makes the working tree.
    async fn check_out(
        &self,
        remote: &Remote,
        bare: &Bare,
        directory: &Path,
        what: Checkout<'_>,
    ) -> Result<(), CloneError> {
        let (agent, until) = (&self.place.agent, self.until);
        lay_out(bare, agent, directory, what, until).await?;
        let place = lfs::Place {
            agent,
            directory,
            log: self.place.log,
        };
        match self.lfs {
            Some(lfs) => lfs.prepare(remote, bare, what.commit, place, until).await?,
            None => lfs::switch_off(place, until).await?,
        }
        check_out(agent, directory, what, until).await?;
        Ok(())
    }

    async fn submodules(
        &self,
        bare: &Bare,
        url: &RepositoryUrl,
        commit: &str,
    ) -> Result<(), CloneError> {
        let mut cloned = 0;
        let mut ahead = vec![(
            bare.clone(),
            url.clone(),
            commit.to_owned(),
            self.place.agent.workspace().to_owned(),
            0,
        )];
        while let Some((bare, url, commit, directory, depth)) = ahead.pop() {
            let found = submodules::of_commit(&bare, &url, &commit, self.until).await?;
            if !found.is_empty() && depth >= submodules::DEEPEST {
                let deepest = submodules::DEEPEST;
                return Err(CloneError::told(format!(
                    "submodules are nested more than {deepest} levels deep."
                )));
            }
            for submodule in found {
                cloned += 1;
                if cloned > submodules::MOST {
                    return Err(CloneError::told(format!(
                        "there are more than {} submodules.",
                        submodules::MOST
                    )));
                }
                let (bare, place) = self.submodule(&submodule, &directory, cloned).await?;
                ahead.push((bare, submodule.url, submodule.commit, place, depth + 1));
            }
        }
        Ok(())
    }

    async fn submodule(
        &self,
        submodule: &submodules::Submodule,
        directory: &Path,
        number: usize,
    ) -> Result<(Bare, PathBuf), CloneError> {
        let Self {
            source,
            place,
            until,
            ..
        } = self;
        let url = match source.key {
            Some(_) => submodule.url.clone().over_ssh(),
            None => submodule.url.clone(),
        };
        let shown = url.to_string();
        self.say(json!({"state": "submodule", "path": submodule.path, "repository": shown}))
            .await;
        let remote = self.reach(url).await?;
        let bare = Bare::init(
            Arc::clone(&place.git),
            &format!("submodule-{number}.git"),
            until,
        )
        .await?;
        let resolved = match bare.find(&remote, Some(&submodule.commit), until).await? {
            Found::Revision(resolved) => resolved,
            Found::Missing | Found::Empty(_) => {
                let path = submodule.path.display();
                return Err(CloneError::told(format!(
                    "the commit of the submodule at `{path}` is not in its repository."
                )));
            }
        };
        let commit = self.fetch(&bare, &remote, &resolved, 1).await?;
        let target = directory.join(&submodule.path);
        place.agent.make_dir(&target).map_err(RunError::from)?;
        let checkout = Checkout {
            url: &shown,
            branch: None,
            commit: Some(&commit),
        };
        self.check_out(&remote, &bare, &target, checkout).await?;
        let git = super::checkout::agents_git(&place.agent, directory, until);
        let path = format!(":(literal){}", submodule.path.display());
        git.run(&["submodule", "--quiet", "init", "--", &path])
            .await?;
        git.run(&["submodule", "--quiet", "absorbgitdirs", "--", &path])
            .await?;
        Ok((bare, target))
    }

    fn missing(&self) -> CloneError {
        CloneError::told(match self.source.revision {
            Some(_) => {
                "gitBranch names no branch or tag of the repository. A commit is named by its \
                        full id."
                    .to_owned()
            }
            None => "The repository has no default branch. Name one in gitBranch.".to_owned(),
        })
    }

    async fn say(&self, mut fields: serde_json::Value) {
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("phase".to_owned(), "clone".into());
        }
        self.place.log.say(fields).await;
    }
}

/// What the agent's environment gets, so that its own git finds the key.
pub(super) fn agents_environment(
    sandbox: &Sandbox,
    ssh: &Path,
    accept_unknown: bool,
) -> Vec<(String, String)> {
    let known_hosts = sandbox.home().join(KNOWN_HOSTS);
    let socket = sandbox.tmp().join(ssh_agent::SOCKET).display().to_string();
    let mut environment: Vec<(String, String)> = ssh_environment(ssh, &known_hosts, accept_unknown)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    // For programs of the agent's that speak SSH themselves.
    environment.push(("SSH_AUTH_SOCK".to_owned(), socket));
    environment
}
