//! How commits get from one sandbox into the other: as bundles, bounded, checked where they come in,
//! looked through for secrets before they leave.

use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt as _;

use super::explain;
use super::push::{OUT, PushError, Taken};
use super::repository::Repository;
use super::run::{Git, RunError, Take, Until};
use super::scan::Patches;
use crate::isolation::Sandbox;

/// Takes a bundle in, of which nothing is believed: before its name and what is wanted of it.
const TAKE_IN: [&str; 22] = [
    "-c",
    "transfer.fsckObjects=true",
    // Old history has these, and they harm nobody.
    "-c",
    "fetch.fsck.zeroPaddedFilemode=warn",
    "-c",
    "fetch.fsck.missingSpaceBeforeDate=warn",
    "-c",
    "fetch.fsck.badTimezone=warn",
    "-c",
    "fetch.unpackLimit=1",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "core.hooksPath=/dev/null",
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-recurse-submodules",
    "--",
];

/// What git says of a bundle is about the commits in it, not about a server.
fn not_taken(error: RunError) -> PushError {
    let RunError::Failed { complaint, .. } = &error else {
        return error.into();
    };
    let words = explain::words(complaint);
    PushError::Told(
        "git-failed",
        format!("Nothing was pushed: the commits are not such as git takes: {words}"),
    )
}

impl Repository {
    /// Brings the agent's commits into the bare repository. None where there are none.
    pub(super) async fn take_out(&self, until: &Until) -> Result<Option<Taken>, PushError> {
        let agents = self.agents_git(until);
        match agents
            .run(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .await
        {
            Ok(_) => {}
            Err(RunError::Failed { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let base = self.origin.base.as_ref().map(|base| format!("^{base}"));
        let range: Vec<&str> = std::iter::once("HEAD").chain(base.as_deref()).collect();
        let mut count = vec!["rev-list", "--count"];
        count.extend(&range);
        if agents.text(&count).await? == "0" {
            return Ok(None);
        }
        let bundle = self
            .bundle(&agents, &range, &self.origin.bare.sandbox, "out.bundle")
            .await?;
        let taken = async {
            self.take_in(&bundle, "HEAD", OUT, until).await?;
            self.taken(OUT, until).await
        };
        taken.await.map(Some).map_err(not_taken)
    }

    /// What `range` names, as a file in the sandbox `to`.
    pub(super) async fn bundle(
        &self,
        git: &Git<'_>,
        range: &[&str],
        to: &Sandbox,
        name: &str,
    ) -> Result<PathBuf, RunError> {
        let path = to.tmp().join(name);
        let file = tokio::fs::File::from_std(to.create_for_agent(&path)?);
        let mut into = IntoFile {
            file,
            room: self.settings.max_push_size,
            most: self.settings.max_push_size,
        };
        let mut arguments = vec!["bundle", "create", "--quiet", "-"];
        arguments.extend_from_slice(range);
        git.stream(&arguments, Vec::new(), &mut into, |_| ())
            .await?;
        into.file.flush().await?;
        Ok(path)
    }

    /// Takes a bundle of the agent's into the bare repository; every object is checked.
    pub(super) async fn take_in(
        &self,
        bundle: &Path,
        from: &str,
        to: &str,
        until: &Until,
    ) -> Result<(), RunError> {
        let (bundle, wanted) = (bundle.display().to_string(), format!("+{from}:{to}"));
        let git = self
            .origin
            .bare
            .git(until)
            .env("GIT_ALLOW_PROTOCOL", "file");
        let arguments = [&TAKE_IN[..], &[&bundle, &wanted]].concat();
        git.run(&arguments).await.map(drop)
    }

    /// Looks through what is new for secrets.
    pub(super) async fn look_for_secrets(
        &self,
        range: &[&str],
        until: &Until,
    ) -> Result<(), PushError> {
        let base = self.origin.base.as_ref().map(|base| format!("^{base}"));
        let mut arguments = vec![
            "-c",
            "core.quotePath=false",
            "log",
            "--patch",
            "--cc",
            "--root",
            "--unified=0",
            "--text",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--no-renames",
            "--no-notes",
            "--no-show-signature",
            "--full-index",
            "--pretty=format:commit %H%n%an %ae%n%cn %ce%n%B",
        ];
        arguments.extend_from_slice(range);
        arguments.extend(base.as_deref());
        arguments.push("--");
        let mut patches = Patches::new(&self.scanner);
        let git = self.origin.bare.git(until);
        git.stream(&arguments, Vec::new(), &mut patches, |_| ())
            .await?;
        let Some(found) = patches.finish() else {
            return Ok(());
        };
        let place = match &found.file {
            Some(file) => format!("in `{file}`"),
            None => "in a commit's message or author".to_owned(),
        };
        Err(PushError::Told(
            "secret-found",
            format!(
                "Nothing was pushed: the commits hold {} {place}.",
                found.what
            ),
        ))
    }

    /// All that could not be pushed, as a file that `git fetch` can read.
    pub(super) fn unpushed(&self) -> PathBuf {
        self.origin.bare.sandbox.tmp().join("out.bundle")
    }
}

/// Into a file, so much at most.
struct IntoFile {
    file: tokio::fs::File,
    room: u64,
    most: u64,
}

impl Take for IntoFile {
    async fn take(&mut self, piece: &[u8]) -> std::io::Result<bool> {
        let Some(room) = self.room.checked_sub(piece.len() as u64) else {
            return Ok(false);
        };
        self.room = room;
        self.file.write_all(piece).await?;
        Ok(true)
    }

    fn most(&self) -> u64 {
        self.most
    }
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
