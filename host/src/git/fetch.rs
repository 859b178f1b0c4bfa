//! The bare repository that speaks to the remote. No file of it is ever checked out, and what it holds
//! is never asked how git should behave.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::remote::Remote;
use super::run::{Git, RunError, Until};
use crate::isolation::Sandbox;

/// Where what was asked for stands.
pub(super) const BASE: &str = "refs/gatehouse/base";
/// Between two looks at how much was fetched.
const MEASURE: Duration = Duration::from_millis(500);

/// A bare repository in the sandbox of what speaks to remotes.
#[derive(Clone, Debug)]
pub(super) struct Bare {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) directory: PathBuf,
}

/// What a request's revision is at the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// What to ask for: a full reference, or an id.
    source: String,
    /// Where it is a branch.
    pub(super) branch: Option<String>,
}

/// What the remote has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This.
    Revision(Resolved),
    /// Nothing at all: a repository without commits, and the branch it would begin with.
    Empty(String),
    /// Other things, but not this.
    Missing,
}

impl Bare {
    /// Makes it.
    pub(super) async fn init(
        sandbox: Arc<Sandbox>,
        name: &str,
        until: &Until,
    ) -> Result<Self, RunError> {
        let directory = sandbox.workspace().join(name);
        sandbox.make_dir(&directory)?;
        let bare = Self { sandbox, directory };
        bare.git(until)
            .run(&["init", "--quiet", "--bare", "--template=", "."])
            .await?;
        Ok(bare)
    }

    /// Git that speaks to nobody.
    pub(super) fn git<'a>(&'a self, until: &'a Until) -> Git<'a> {
        Git::new(&self.sandbox, &self.directory, until).env("GIT_ALLOW_PROTOCOL", "none")
    }

    fn git_with<'a>(&'a self, remote: &Remote, until: &'a Until) -> Git<'a> {
        remote.git(&self.sandbox, &self.directory, until)
    }

    /// Looks for what the request names: a branch, a tag, a full id, or without a name the remote's own
    /// default branch.
    pub(super) async fn find(
        &self,
        remote: &Remote,
        revision: Option<&str>,
        until: &Until,
    ) -> Result<Found, RunError> {
        let url = remote.url.to_string();
        let (branch, tag) = match revision {
            Some(name) => (format!("refs/heads/{name}"), format!("refs/tags/{name}")),
            None => (String::new(), String::new()),
        };
        let mut arguments = vec!["ls-remote", "--quiet", "--symref", "--", &url, "HEAD"];
        if revision.is_some() {
            arguments.extend([branch.as_str(), tag.as_str()]);
        }
        let git = self.git_with(remote, until);
        let listed = git.text(&arguments).await?;
        let found = read_listing(&listed, revision, &branch, &tag);
        if !matches!(found, Found::Empty(_)) {
            return Ok(found);
        }
        // It may only lack the branch that it calls its own.
        match git.run(&["ls-remote", "--quiet", "--", &url]).await {
            Ok(all) if all.is_empty() => Ok(found),
            Ok(_) | Err(RunError::TooMuch { .. }) => Ok(Found::Missing),
            Err(error) => Err(error),
        }
    }

    /// What stands at a branch of the remote now.
    pub(super) async fn tip(
        &self,
        remote: &Remote,
        branch: &str,
        until: &Until,
    ) -> Result<Option<String>, RunError> {
        let (url, name) = (remote.url.to_string(), format!("refs/heads/{branch}"));
        let listed = self
            .git_with(remote, until)
            .text(&["ls-remote", "--quiet", "--", &url, &name])
            .await?;
        let tip = listed.lines().find_map(|line| {
            let (id, found) = line.split_once('\t')?;
            (found == name).then(|| id.to_owned())
        });
        Ok(tip)
    }

    /// Fetches it to [`BASE`], with so much history; the commit that it stands for.
    pub(super) async fn fetch_base(
        &self,
        remote: &Remote,
        resolved: &Resolved,
        depth: u32,
        largest: u64,
        until: &Until,
        progress: impl FnMut(&str),
    ) -> Result<String, RunError> {
        let (depth, wanted) = (
            format!("--depth={depth}"),
            format!("+{}:{BASE}", resolved.source),
        );
        self.fetch(
            remote,
            &["--progress", &depth],
            &wanted,
            largest,
            until,
            progress,
        )
        .await?;
        self.git(until)
            .text(&[
                "rev-parse",
                "--verify",
                "--quiet",
                &format!("{BASE}^{{commit}}"),
            ])
            .await
    }

    /// Fetches a branch as it stands now, on top of what is here.
    pub(super) async fn fetch_branch(
        &self,
        remote: &Remote,
        branch: &str,
        to: &str,
        largest: u64,
        until: &Until,
    ) -> Result<(), RunError> {
        let wanted = format!("+refs/heads/{branch}:{to}");
        self.fetch(remote, &["--quiet"], &wanted, largest, until, |_| ())
            .await
    }

    async fn fetch(
        &self,
        remote: &Remote,
        options: &[&str],
        wanted: &str,
        largest: u64,
        until: &Until,
        progress: impl FnMut(&str),
    ) -> Result<(), RunError> {
        let url = remote.url.to_string();
        let mut arguments = vec![
            "-c",
            "fetch.unpackLimit=1",
            "-c",
            "fetch.writeCommitGraph=false",
            "-c",
            "gc.auto=0",
            "-c",
            "maintenance.auto=false",
            "-c",
            "core.hooksPath=/dev/null",
            "fetch",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
        ];
        arguments.extend_from_slice(options);
        arguments.extend(["--", url.as_str(), wanted]);
        let git = self.git_with(remote, until);
        let fetch = git.watch(&arguments, progress);
        let place = self.directory.join("objects/pack");
        let too_much = || RunError::TooMuch {
            what: "fetch".to_owned(),
            most: largest,
        };
        tokio::select! {
            fetched = fetch => fetched?,
            () = grows_beyond(&place, largest) => return Err(too_much()),
        }
        // What came faster than anybody looked.
        if size_of(&place) > largest {
            return Err(too_much());
        }
        Ok(())
    }

    /// The packs, each with its index, and whether history was cut off.
    pub(super) fn packs(&self) -> std::io::Result<Vec<PathBuf>> {
        let mut packs = Vec::new();
        for entry in std::fs::read_dir(self.directory.join("objects/pack"))? {
            let path = entry?.path();
            let ending = path.extension().and_then(std::ffi::OsStr::to_str);
            if matches!(ending, Some("pack" | "idx" | "rev")) {
                packs.push(path);
            }
        }
        Ok(packs)
    }

    /// The file that says where history was cut off, if it was.
    pub(super) fn shallow(&self) -> std::io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.directory.join("shallow")) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn read_listing(listed: &str, revision: Option<&str>, branch: &str, tag: &str) -> Found {
    let names = |name: &str| {
        listed
            .lines()
            .filter(|line| !line.starts_with("ref: "))
            .any(|line| {
                line.split_once('\t')
                    .is_some_and(|(_, found)| found == name)
            })
    };
    let default = listed.lines().find_map(|line| {
        line.strip_prefix("ref: refs/heads/")?
            .strip_suffix("\tHEAD")
    });
    let of_branch = |name: &str| {
        Found::Revision(Resolved {
            source: format!("refs/heads/{name}"),
            branch: Some(name.to_owned()),
        })
    };
    match (revision, default) {
        (Some(name), _) if names(branch) => of_branch(name),
        (Some(_), _) if names(tag) => Found::Revision(Resolved {
            source: tag.to_owned(),
            branch: None,
        }),
        (Some(name), _) if is_id(name) => {
            let source = name.to_ascii_lowercase();
            Found::Revision(Resolved {
                source,
                branch: None,
            })
        }
        (None, Some(default)) if names("HEAD") => of_branch(default),
        (None, None) if names("HEAD") => Found::Revision(Resolved {
            source: "HEAD".to_owned(),
            branch: None,
        }),
        (_, default) if !names("HEAD") => {
            // Whatever else it may hold, its own branch has no commit.
            let begins = revision.or(default).unwrap_or("main");
            Found::Empty(begins.to_owned())
        }
        _ => Found::Missing,
    }
}

/// A full object id, of either length that git knows.
fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns when the files of the directory take more room than this.
async fn grows_beyond(directory: &Path, most: u64) {
    while size_of(directory) <= most {
        tokio::time::sleep(MEASURE).await;
    }
}

fn size_of(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str =
        "ref: refs/heads/trunk\tHEAD\n11\tHEAD\n22\trefs/heads/x\n33\trefs/tags/v1";

    fn found(listed: &str, revision: Option<&str>) -> Found {
        let name = revision.unwrap_or_default();
        read_listing(
            listed,
            revision,
            &format!("refs/heads/{name}"),
            &format!("refs/tags/{name}"),
        )
    }

    fn revision(source: &str, branch: Option<&str>) -> Found {
        let branch = branch.map(str::to_owned);
        Found::Revision(Resolved {
            source: source.to_owned(),
            branch,
        })
    }

    #[test]
    fn a_revision_is_a_branch_a_tag_an_id_or_the_remotes_own_default() {
        assert_eq!(
            found(LISTED, None),
            revision("refs/heads/trunk", Some("trunk"))
        );
        assert_eq!(
            found(LISTED, Some("x")),
            revision("refs/heads/x", Some("x"))
        );
        assert_eq!(found(LISTED, Some("v1")), revision("refs/tags/v1", None));
        let id = "AB".repeat(20);
        assert_eq!(found(LISTED, Some(&id)), revision(&"ab".repeat(20), None));
        assert_eq!(found(LISTED, Some("abcdef1")), Found::Missing);
        assert_eq!(found("11\tHEAD", None), revision("HEAD", None));
    }

    #[test]
    fn a_remote_without_commits_begins_with_the_branch_that_was_asked_for() {
        assert_eq!(found("", None), Found::Empty("main".to_owned()));
        assert_eq!(found("", Some("dev")), Found::Empty("dev".to_owned()));
        assert_eq!(
            found("ref: refs/heads/trunk\tHEAD", None),
            Found::Empty("trunk".to_owned())
        );
    }
}
