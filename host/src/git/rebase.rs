//! The agent's commits on top of what somebody else pushed meanwhile, with the agent's changes winning.
//!
//! Done as the agent, in a working tree apart: merge drivers and attributes are the repository's, and
//! the workspace must stay as the agent left it. What comes back is believed only after [`verify`] has
//! compared it, file by file, with what it must be.

use super::push::OUT;
use super::repository::Repository;
use super::run::{RunError, Until};

/// What stands at the remote's branch.
const REMOTE: &str = "refs/gatehouse/remote";
/// The agent's commits on top of it.
const REBASED: &str = "refs/gatehouse/rebased";

/// What came of it.
#[derive(Debug)]
pub(super) struct Rebased {
    pub(super) sha: String,
    pub(super) remote: String,
    /// What both sides had changed.
    pub(super) conflict_files: Vec<String>,
    /// Whether it is what it must be: their changes, with the agent's on top.
    pub(super) faithful: bool,
}

impl Repository {
    pub(super) async fn rebase(&self, branch: &str, until: &Until) -> Result<Rebased, RunError> {
        let (bare, remote) = (&self.origin.bare, &self.origin.remote);
        let git = bare.git(until);
        bare.fetch_branch(remote, branch, REMOTE, self.settings.max_clone_size, until)
            .await?;
        let theirs = git.text(&["rev-parse", "--verify", REMOTE]).await?;
        let Some(base) = &self.origin.base else {
            // Two histories that began apart have nothing to be put on top of.
            return Err(RunError::Failed {
                what: "rebase".to_owned(),
                code: 1,
                complaint: "there was no commit when the repository was cloned".to_owned(),
            });
        };
        let sha = self.rebase_as_agent(base, &theirs, until).await?;
        if !git
            .holds(&["merge-base", "--is-ancestor", &theirs, &sha])
            .await?
        {
            return Err(RunError::Failed {
                what: "rebase".to_owned(),
                code: 1,
                complaint: "what came back does not contain the remote's commits".to_owned(),
            });
        }
        let ours = git.text(&["rev-parse", "--verify", OUT]).await?;
        let compared = super::verify::compare(&git, base, &ours, &theirs, &sha).await?;
        Ok(Rebased {
            sha,
            remote: theirs,
            conflict_files: compared.both,
            faithful: compared.faithful,
        })
    }

    async fn rebase_as_agent(
        &self,
        base: &str,
        theirs: &str,
        until: &Until,
    ) -> Result<String, RunError> {
        let git = self.origin.bare.git(until);
        let (without_base, without_theirs) = (format!("^{base}"), format!("^{theirs}"));
        let bundle = self
            .bundle(&git, &[REMOTE, &without_base], &self.agent, "remote.bundle")
            .await?;
        let agents = self
            .identified(None, until)
            .await?
            .env("GIT_EDITOR", "true")
            // Pointers are put on top of pointers: the others' files of LFS are not here.
            .env("GIT_LFS_SKIP_SMUDGE", "1");
        let (from, to) = (bundle.display().to_string(), format!("+{REMOTE}:{REMOTE}"));
        agents
            .clone()
            .env("GIT_ALLOW_PROTOCOL", "file")
            .run(&[
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--",
                &from,
                &to,
            ])
            .await?;
        let place = self.agent.tmp().join("rebase");
        let tree = place.display().to_string();
        agents
            .run(&[
                "worktree", "add", "--quiet", "--force", "--detach", &tree, "HEAD",
            ])
            .await?;
        let inside = agents.clone().at(&place);
        let rebased = async {
            inside
                .run(&[
                    "-c",
                    "core.hooksPath=/dev/null",
                    "rebase",
                    "--quiet",
                    "--no-gpg-sign",
                    "--strategy-option=theirs",
                    "--onto",
                    theirs,
                    base,
                ])
                .await?;
            let sha = inside.text(&["rev-parse", "--verify", "HEAD"]).await?;
            if sha == theirs {
                return Ok(sha);
            }
            let range = ["HEAD", without_base.as_str(), without_theirs.as_str()];
            let bundle = self
                .bundle(&inside, &range, &self.origin.bare.sandbox, "rebased.bundle")
                .await?;
            self.take_in(&bundle, "HEAD", REBASED, until).await?;
            // The agent's word for it does not count.
            git.text(&["rev-parse", "--verify", &format!("{REBASED}^{{commit}}")])
                .await
        };
        let rebased = rebased.await;
        if let Err(error) = agents.run(&["worktree", "remove", "--force", &tree]).await {
            let error = self.redacted(&error);
            tracing::debug!(
                error,
                "the working tree of a rebase is left to the end of the task"
            );
        }
        rebased
    }
}
