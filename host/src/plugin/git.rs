//! What the `git` interface of the contract offers, as `plugin/` sees it: `git/` does it.

use async_trait::async_trait;

use super::Failure;

/// The repository of one task, for post-execution plugins. All ids are full ones.
#[async_trait]
pub trait GitRepository: std::fmt::Debug + Send + Sync {
    /// What was cloned.
    fn cloned(&self) -> Cloned;

    /// What differs from the last commit.
    async fn changes(&self) -> Result<Vec<Change>, Failure>;

    /// Commits as the agent, in its isolation. None where there is nothing to commit.
    async fn commit(&self, commit: Commit) -> Result<Option<Committed>, Failure>;

    /// Pushes what is committed, never by force.
    async fn push(&self, push: Push) -> Result<Pushed, Failure>;

    /// The message of a commit that was pushed; none where there is no such commit. For the host's
    /// report: plugins do not reach this.
    async fn message(&self, sha: &str) -> Option<String>;
}

/// Where the workspace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloned {
    /// Without credentials.
    pub url: String,
    /// None where a tag or a commit was asked for.
    pub branch: Option<String>,
    /// What it stood at.
    pub commit: String,
}

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// From the root of the repository.
    pub path: String,
    /// Git's letter.
    pub status: String,
}

/// What to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whole.
    pub message: String,
    /// Path specifications; none for everything that changed.
    pub paths: Option<Vec<String>>,
    /// Name and address; none for the repository's own.
    pub author: Option<(String, String)>,
}

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its id.
    pub sha: String,
    /// Whole.
    pub message: String,
    /// How many files it changes.
    pub files: u32,
}

/// What to do where the remote branch has commits that ours lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// A failure.
    Fail,
    /// The agent's commits on top, its changes winning; else [`OnConflict::NewBranch`].
    Rebase,
    /// A new branch beside it.
    NewBranch,
}

/// Where to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Without `refs/heads/`.
    pub branch: String,
    /// Where it cannot be a fast forward.
    pub on_conflict: OnConflict,
}

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// False where there was nothing to push.
    pub pushed: bool,
    /// The branch that holds it.
    pub branch: String,
    /// What stands there at the remote.
    pub sha: String,
    /// How many were new there.
    pub commits: u32,
    /// How a conflict was resolved.
    pub recovery: Option<Recovery>,
}

/// How a conflict was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// `rebase` or `new-branch`.
    pub method: &'static str,
    /// What stood at the remote branch.
    pub remote_sha: String,
    /// What both sides had changed.
    pub conflict_files: Vec<String>,
}
