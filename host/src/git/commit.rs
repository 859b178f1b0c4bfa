//! Committing as the agent: its hooks, filters and configuration run where it ran.

use super::checkout::agents_git;
use super::repository::Repository;
use super::run::{Git, RunError, Until};
use crate::plugin::{Change, Commit, Committed};

/// Who commits where neither plugin nor repository say.
const NAME: &str = "Claude Code";
const ADDRESS: &str = "noreply@anthropic.com";

impl Repository {
    pub(super) fn agents_git<'a>(&'a self, until: &'a Until) -> Git<'a> {
        agents_git(&self.agent, self.agent.workspace(), until)
    }

    pub(super) async fn list_changes(&self, until: &Until) -> Result<Vec<Change>, RunError> {
        let git = self.agents_git(until);
        let mut arguments = vec![
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=all",
            "--no-renames",
        ];
        let left_out = self.left_out();
        arguments.push("--");
        arguments.extend(left_out.iter().map(String::as_str));
        let listed = git.run(&arguments).await?;
        Ok(read_status(&String::from_utf8_lossy(&listed)))
    }

    pub(super) async fn make_commit(
        &self,
        commit: Commit,
        until: &Until,
    ) -> Result<Option<Committed>, RunError> {
        let git = self.agents_git(until);
        let left_out = self.left_out();
        let mut arguments = vec!["add", "--all", "--"];
        match &commit.paths {
            Some(paths) => arguments.extend(paths.iter().map(String::as_str)),
            None => arguments.push(":/"),
        }
        arguments.extend(left_out.iter().skip(1).map(String::as_str));
        git.run(&arguments).await?;
        if git
            .holds(&["diff", "--cached", "--quiet", "--no-ext-diff"])
            .await?
        {
            return Ok(None);
        }
        let git = self.identified(commit.author.clone(), until).await?;
        let message = commit.message.clone().into_bytes();
        git.feed(
            &[
                "commit",
                "--quiet",
                "--no-gpg-sign",
                "--cleanup=whitespace",
                "--file=-",
            ],
            message,
        )
        .await?;
        let sha = git.text(&["rev-parse", "--verify", "HEAD"]).await?;
        let changed = git
            .run(&[
                "diff-tree",
                "--root",
                "--no-commit-id",
                "--name-only",
                "-r",
                "-z",
                "HEAD",
            ])
            .await?;
        let files = changed.iter().filter(|byte| **byte == 0).count();
        Ok(Some(Committed {
            sha,
            message: commit.message,
            files: u32::try_from(files).unwrap_or(u32::MAX),
        }))
    }

    /// Git with a name to commit under: the plugin's, else the repository's own, else ours.
    pub(super) async fn identified<'a>(
        &'a self,
        author: Option<(String, String)>,
        until: &'a Until,
    ) -> Result<Git<'a>, RunError> {
        let git = self.agents_git(until);
        let (name, address) = match author {
            Some(author) => author,
            None => {
                let own =
                    async |key: &str, ours: &str| match git.text(&["config", "--get", key]).await {
                        Ok(own) if !own.is_empty() => Ok(own),
                        Ok(_) | Err(RunError::Failed { .. }) => Ok(ours.to_owned()),
                        Err(error) => Err(error),
                    };
                (
                    own("user.name", NAME).await?,
                    own("user.email", ADDRESS).await?,
                )
            }
        };
        Ok(git
            .env("GIT_AUTHOR_NAME", &name)
            .env("GIT_COMMITTER_NAME", &name)
            .env("GIT_AUTHOR_EMAIL", &address)
            .env("GIT_COMMITTER_EMAIL", &address))
    }

    /// Everything, but for what the host put there.
    fn left_out(&self) -> Vec<String> {
        let ours = self
            .ours
            .iter()
            .map(|path| format!(":(top,exclude,literal){path}"));
        std::iter::once(":/".to_owned()).chain(ours).collect()
    }
}

/// Entries of `git status --porcelain=v1 -z`: two letters, for the index and for the file.
fn read_status(listed: &str) -> Vec<Change> {
    let change = |entry: &str| {
        let (letters, path) = entry.split_at_checked(3)?;
        let (index, file) = (letters.chars().next()?, letters.chars().nth(1)?);
        let status = match (index, file) {
            ('?', _) => 'A',
            (index, ' ') => index,
            // Of a file that was added and changed again, that it is new counts.
            ('A', _) => 'A',
            (_, file) => file,
        };
        Some(Change {
            path: path.to_owned(),
            status: status.to_string(),
        })
    };
    listed.split('\0').filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_one_letter_for_each_path() {
        let read = read_status("?? new\0 M changed\0D  gone\0AM fresh\0 T link\0");
        let read: Vec<(&str, &str)> = read
            .iter()
            .map(|change| (change.path.as_str(), change.status.as_str()))
            .collect();
        let expected = [
            ("new", "A"),
            ("changed", "M"),
            ("gone", "D"),
            ("fresh", "A"),
            ("link", "T"),
        ];
        assert_eq!(read, expected);
    }
}
