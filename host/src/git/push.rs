//! From the agent's commits to the remote's branch, never by force.
//!
//! The commits leave the agent's sandbox as a bundle, are taken in and checked by the bare repository,
//! looked through for secrets, and pushed from there by a reference spelled out in full to the URL that
//! was cloned.

use super::explain;
use super::repository::Repository;
use super::run::{RunError, Until};
use crate::plugin::{OnConflict, Push, Pushed, Recovery};

/// What the agent committed, in the bare repository.
pub(super) const OUT: &str = "refs/gatehouse/out";
/// Somebody else may be pushing too; so often do we look again.
const ATTEMPTS: usize = 5;

/// Why nothing was pushed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PushError {
    #[error("{0}: {1}")]
    Told(&'static str, String),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// The agent's commits.
pub(super) struct Taken {
    pub(super) sha: String,
    pub(super) commits: u32,
}

/// How a push went.
enum Attempt {
    Done,
    /// The branch was moved by somebody else meanwhile.
    Moved,
}

impl Repository {
    pub(super) async fn push_all(&self, push: &Push, until: &Until) -> Result<Pushed, PushError> {
        let nothing = |sha: String| Pushed {
            pushed: false,
            branch: push.branch.clone(),
            sha,
            commits: 0,
            recovery: None,
        };
        let Some(taken) = self.take_out(until).await? else {
            return Ok(nothing(self.origin.base.clone().unwrap_or_default()));
        };
        self.look_for_secrets(&[OUT], until).await?;
        // Also where the agent pushed the commits itself: nothing of LFS went along.
        self.send_objects(&[OUT], until).await?;
        for _ in 0..ATTEMPTS {
            let tip = self.tip(&push.branch, until).await?;
            if tip.as_ref() == Some(&taken.sha) {
                return Ok(nothing(taken.sha));
            }
            let Some(tip) = self.in_the_way(tip.clone(), until).await? else {
                match self.push_one(&taken.sha, &push.branch, tip, until).await? {
                    Attempt::Moved => continue,
                    Attempt::Done => return Ok(done(&push.branch, taken, None)),
                }
            };
            let recovered = match push.on_conflict {
                OnConflict::Fail => {
                    return Err(PushError::Told(
                        "conflict",
                        "Push rejected. Remote has changes that are not in local branch. Use \
                         conflictStrategy: \"auto\" to enable automatic recovery."
                            .to_owned(),
                    ));
                }
                OnConflict::Rebase => self.push_rebased(&push.branch, &tip, until).await?,
                OnConflict::NewBranch => Some(
                    self.push_beside(&push.branch, &taken, tip, Vec::new(), until)
                        .await?,
                ),
            };
            if let Some(pushed) = recovered {
                return Ok(pushed);
            }
        }
        Err(PushError::Told(
            "conflict",
            format!(
                "The branch was moved by somebody else {ATTEMPTS} times while it was being pushed to."
            ),
        ))
    }

    /// On top of what is there; where that cannot be done faithfully, beside it. None where the branch
    /// was moved meanwhile.
    async fn push_rebased(
        &self,
        branch: &str,
        tip: &str,
        until: &Until,
    ) -> Result<Option<Pushed>, PushError> {
        let taken = self.taken(OUT, until).await?;
        let rebased = match self.rebase(branch, until).await {
            Ok(rebased) => rebased,
            Err(error @ (RunError::Stopped | RunError::TimedOut(_))) => return Err(error.into()),
            Err(error) => {
                let error = self.redacted(&error);
                tracing::info!(
                    error,
                    "the agent's commits cannot be rebased; a new branch is pushed"
                );
                let beside = self.push_beside(branch, &taken, tip.to_owned(), Vec::new(), until);
                return Ok(Some(beside.await?));
            }
        };
        if !rebased.faithful {
            let beside = self.push_beside(
                branch,
                &taken,
                rebased.remote,
                rebased.conflict_files,
                until,
            );
            return Ok(Some(beside.await?));
        }
        let recovery = Recovery {
            method: "rebase",
            remote_sha: rebased.remote.clone(),
            conflict_files: rebased.conflict_files,
        };
        let new = [rebased.sha.as_str(), &format!("^{}", rebased.remote)];
        self.look_for_secrets(&new, until).await?;
        self.send_objects(&new, until).await?;
        if rebased.sha == rebased.remote {
            // Somebody had made the same changes.
            return Ok(Some(Pushed {
                pushed: false,
                branch: branch.to_owned(),
                sha: rebased.sha,
                commits: 0,
                recovery: Some(recovery),
            }));
        }
        let commits = self.count(&rebased.sha, &rebased.remote, until).await?;
        match self
            .push_one(&rebased.sha, branch, Some(rebased.remote.clone()), until)
            .await?
        {
            Attempt::Moved => Ok(None),
            Attempt::Done => {
                let taken = Taken {
                    sha: rebased.sha,
                    commits,
                };
                Ok(Some(done(branch, taken, Some(recovery))))
            }
        }
    }

    /// To a new branch, named by the task.
    async fn push_beside(
        &self,
        branch: &str,
        taken: &Taken,
        remote_sha: String,
        conflict_files: Vec<String>,
        until: &Until,
    ) -> Result<Pushed, PushError> {
        for number in 1..=ATTEMPTS {
            let mut name = format!("{branch}-{}", self.task);
            if number > 1 {
                name.push_str(&format!("-{number}"));
            }
            if self.tip(&name, until).await?.is_some() {
                continue;
            }
            if let Attempt::Done = self.push_one(&taken.sha, &name, None, until).await? {
                let recovery = Recovery {
                    method: "new-branch",
                    remote_sha,
                    conflict_files,
                };
                let taken = Taken {
                    sha: taken.sha.clone(),
                    commits: taken.commits,
                };
                return Ok(done(&name, taken, Some(recovery)));
            }
        }
        let sentence = format!("No free name was found for a new branch beside `{branch}`.");
        Err(PushError::Told("conflict", sentence))
    }

    /// What stands at the remote's branch, unless the agent's commits come after it.
    async fn in_the_way(
        &self,
        tip: Option<String>,
        until: &Until,
    ) -> Result<Option<String>, RunError> {
        let Some(tip) = tip else { return Ok(None) };
        let git = self.origin.bare.git(until);
        match git.holds(&["merge-base", "--is-ancestor", &tip, OUT]).await {
            // The agent may have pushed some of them itself.
            Ok(true) => Ok(None),
            // A commit that is not known here cannot come before one that is.
            Ok(false) | Err(RunError::Failed { .. }) => Ok(Some(tip)),
            Err(error) => Err(error),
        }
    }

    async fn tip(&self, branch: &str, until: &Until) -> Result<Option<String>, RunError> {
        self.origin
            .bare
            .tip(&self.origin.remote, branch, until)
            .await
    }

    pub(super) async fn taken(&self, reference: &str, until: &Until) -> Result<Taken, RunError> {
        let git = self.origin.bare.git(until);
        let sha = git
            .text(&["rev-parse", "--verify", &format!("{reference}^{{commit}}")])
            .await?;
        let base = self.origin.base.as_ref().map(|base| format!("^{base}"));
        let mut arguments = vec!["rev-list", "--count", sha.as_str()];
        arguments.extend(base.as_deref());
        let commits = git.text(&arguments).await?.parse().unwrap_or(u32::MAX);
        Ok(Taken { sha, commits })
    }

    async fn count(&self, sha: &str, without: &str, until: &Until) -> Result<u32, RunError> {
        let git = self.origin.bare.git(until);
        let count = git
            .text(&["rev-list", "--count", sha, &format!("^{without}")])
            .await?;
        Ok(count.parse().unwrap_or(u32::MAX))
    }

    /// `before` is what was seen at the branch.
    async fn push_one(
        &self,
        sha: &str,
        branch: &str,
        before: Option<String>,
        until: &Until,
    ) -> Result<Attempt, PushError> {
        let (url, wanted) = (
            self.origin.remote.url.to_string(),
            format!("{sha}:refs/heads/{branch}"),
        );
        let bare = &self.origin.bare;
        let git = self
            .origin
            .remote
            .git(&bare.sandbox, &bare.directory, until);
        let pushed = git
            .run(&[
                "-c",
                "core.hooksPath=/dev/null",
                "push",
                "--no-verify",
                "--no-follow-tags",
                "--recurse-submodules=no",
                "--",
                &url,
                &wanted,
            ])
            .await;
        let after = self.tip(branch, until).await;
        match (pushed, after) {
            // Where it says that it did not go well it may have, and the other way round.
            (_, Ok(Some(after))) if after == sha => Ok(Attempt::Done),
            (Ok(_), Ok(Some(after))) if self.holds_ours(sha, branch, &after, until).await? => {
                Ok(Attempt::Done)
            }
            (Ok(_), Ok(_)) => Err(PushError::Told(
                "unverified",
                format!(
                    "The remote took the push, but its branch `{branch}` does not hold the commits."
                ),
            )),
            (Err(RunError::Failed { .. }), Ok(after)) if after != before => Ok(Attempt::Moved),
            (
                Err(RunError::Failed {
                    complaint,
                    code,
                    what,
                }),
                Ok(_),
            ) => {
                if complaint.contains("remote rejected") || complaint.contains("[rejected]") {
                    let sentence = format!(
                        "The remote refused the push: {}",
                        explain::words(&complaint)
                    );
                    return Err(PushError::Told("push-refused", sentence));
                }
                Err(RunError::Failed {
                    what,
                    code,
                    complaint,
                }
                .into())
            }
            (Err(error), _) | (Ok(_), Err(error)) => Err(error.into()),
        }
    }

    /// Whether what stands there now was put on top of ours.
    async fn holds_ours(
        &self,
        sha: &str,
        branch: &str,
        tip: &str,
        until: &Until,
    ) -> Result<bool, RunError> {
        let (bare, remote) = (&self.origin.bare, &self.origin.remote);
        let to = "refs/gatehouse/after";
        bare.fetch_branch(remote, branch, to, self.settings.max_clone_size, until)
            .await?;
        bare.git(until)
            .holds(&["merge-base", "--is-ancestor", sha, tip])
            .await
    }
}

fn done(branch: &str, taken: Taken, recovery: Option<Recovery>) -> Pushed {
    Pushed {
        pushed: true,
        branch: branch.to_owned(),
        sha: taken.sha,
        commits: taken.commits,
        recovery,
    }
}
