//! From the bare repository to a working tree of the agent's.
//!
//! The packs get a second name in the agent's repository: they are neither copied nor can the agent
//! change them. Everything that looks at the content, filters that attributes name included, runs as
//! the agent.

use std::path::Path;

use super::fetch::Bare;
use super::run::{Git, RunError, Until};
use crate::isolation::Sandbox;

/// What is to stand in the working tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checkout<'a> {
    /// As the remote `origin` shall be called; without credentials.
    pub(super) url: &'a str,
    /// The branch that stands out; none leaves the commit detached.
    pub(super) branch: Option<&'a str>,
    /// None: there is no commit yet.
    pub(super) commit: Option<&'a str>,
}

/// Git as the agent, in a working tree of its own.
pub(super) fn agents_git<'a>(sandbox: &'a Sandbox, directory: &Path, until: &'a Until) -> Git<'a> {
    Git::new(sandbox, directory, until)
}

/// Makes a repository in `directory`, which is there and empty, with everything that a checkout needs.
pub(super) async fn lay_out(
    bare: &Bare,
    sandbox: &Sandbox,
    directory: &Path,
    what: Checkout<'_>,
    until: &Until,
) -> Result<(), RunError> {
    let git = agents_git(sandbox, directory, until);
    let first = format!("--initial-branch={}", what.branch.unwrap_or("main"));
    git.run(&["init", "--quiet", "--template=", &first, "."])
        .await?;
    git.run(&["config", "remote.origin.url", what.url]).await?;
    let branches = match what.branch {
        // As a clone of one branch has it: `git fetch` shall not bring what nobody asked for.
        Some(branch) => format!("+refs/heads/{branch}:refs/remotes/origin/{branch}"),
        None => "+refs/heads/*:refs/remotes/origin/*".to_owned(),
    };
    git.run(&["config", "remote.origin.fetch", &branches])
        .await?;
    if what.commit.is_none() {
        return Ok(());
    }
    let inside = directory.join(".git");
    for pack in bare.packs()? {
        if let Some(name) = pack.file_name() {
            sandbox.link_for_agent(&pack, &inside.join("objects/pack").join(name))?;
        }
    }
    if let Some(shallow) = bare.shallow()? {
        sandbox.write_for_agent(&inside.join("shallow"), &shallow)?;
    }
    Ok(())
}

/// Checks the commit out, in what [`lay_out`] made.
pub(super) async fn check_out(
    sandbox: &Sandbox,
    directory: &Path,
    what: Checkout<'_>,
    until: &Until,
) -> Result<(), RunError> {
    let git = agents_git(sandbox, directory, until);
    let Some(commit) = what.commit else {
        return Ok(());
    };
    match what.branch {
        Some(branch) => {
            let tracked = format!("refs/remotes/origin/{branch}");
            git.run(&["update-ref", &tracked, commit]).await?;
            git.run(&["config", &format!("branch.{branch}.remote"), "origin"])
                .await?;
            git.run(&[
                "config",
                &format!("branch.{branch}.merge"),
                &format!("refs/heads/{branch}"),
            ])
            .await?;
            git.run(&["checkout", "--quiet", "--force", "-B", branch, commit, "--"])
                .await?;
        }
        None => {
            git.run(&["checkout", "--quiet", "--force", "--detach", commit, "--"])
                .await?;
        }
    }
    Ok(())
}
