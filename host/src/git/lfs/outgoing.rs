//! Before a push: the objects of the commits that leave.

use std::path::{Path, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::endpoint::Endpoint;
use super::pointer::{self, Pointer};
use super::session::{Job, Session};
use super::{AT_ONCE, BATCH, LfsError, Operation, place_of};
use crate::git::repository::Repository;
use crate::git::run::{RunError, Until};
use crate::git::scan::Content;
use crate::plugin::{Failure, Workspace};

/// Where objects wait to be sent, in the `TMPDIR` of what speaks to the remote.
const WAITING: &str = "lfs";

impl Repository {
    /// Sends the objects that the commits of `range` need and the server lacks. All of them are copied out
    /// of the agent's reach, checked and looked through for secrets before the first one leaves.
    pub(in crate::git) async fn send_objects(
        &self,
        range: &[&str],
        until: &Until,
    ) -> Result<(), LfsError> {
        let Some(lfs) = &self.lfs else { return Ok(()) };
        let bare = &self.origin.bare;
        let base = self.origin.base.as_ref().map(|base| format!("^{base}"));
        let range: Vec<&str> = range.iter().copied().chain(base.as_deref()).collect();
        let pointers = pointer::find(&bare.git(until), &range).await?;
        if pointers.is_empty() {
            return Ok(());
        }
        let session = Session {
            outbound: lfs.outbound.clone(),
            endpoint: Endpoint::of(&self.origin.remote, bare, Operation::Upload, until).await?,
            operation: Operation::Upload,
        };
        let send = async {
            let mut jobs = Vec::new();
            for some in pointers.chunks(BATCH) {
                jobs.extend(session.batch(some).await?);
            }
            let wanted: Vec<Pointer> = jobs.iter().map(|job| job.pointer.clone()).collect();
            lfs.measure(&wanted)?;
            for pointer in &wanted {
                self.take_object(pointer).await?;
            }
            let send_one = |job: Job| {
                let session = &session;
                async move {
                    let waiting = self.waiting(&job.pointer);
                    let file = tokio::fs::File::open(&waiting).await?;
                    session.upload(&job, file).await?;
                    Ok::<(), LfsError>(tokio::fs::remove_file(&waiting).await?)
                }
            };
            futures::stream::iter(jobs)
                .map(send_one)
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await
        };
        until.bound("lfs push", send).await
    }

    fn waiting(&self, pointer: &Pointer) -> PathBuf {
        let directory = self.origin.bare.sandbox.tmp().join(WAITING);
        directory.join(&pointer.oid)
    }

    /// Copies an object out of the workspace: what is looked at then is what leaves.
    async fn take_object(&self, pointer: &Pointer) -> Result<(), LfsError> {
        let mut from = open(self.agent.workspace(), pointer)?;
        let to = self
            .origin
            .bare
            .sandbox
            .create_for_agent(&self.waiting(pointer))
            .map_err(RunError::from)?;
        let mut to = tokio::fs::File::from_std(to);
        let (mut size, mut digest) = (0_u64, Sha256::new());
        let mut content = Content::new(&self.scanner);
        let mut piece = vec![0; 64 << 10];
        loop {
            let length = from.read(&mut piece).await?;
            let read = piece.get(..length).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            size = size.saturating_add(read.len() as u64);
            if size > pointer.size {
                break;
            }
            digest.update(read);
            content.push(read);
            to.write_all(read).await?;
        }
        to.flush().await?;
        if size != pointer.size || hex::encode(digest.finalize()) != pointer.oid {
            return Err(LfsError::told(
                "lfs-mismatch",
                format!(
                    "Nothing was pushed: what .git/lfs holds for `{}` is not what its pointer says.",
                    pointer.path
                ),
            ));
        }
        match content.finish() {
            None => Ok(()),
            Some(what) => Err(LfsError::told(
                "secret-found",
                format!(
                    "Nothing was pushed: the content of `{}` in Git LFS holds {what}.",
                    pointer.path
                ),
            )),
        }
    }
}

/// Over no link, and nothing but a file of the agent's.
fn open(workspace: &Path, pointer: &Pointer) -> Result<tokio::fs::File, LfsError> {
    let path = format!(".git/{}", place_of(&pointer.oid));
    let workspace = Workspace::open(workspace)?;
    let opened = workspace.file(&path).map_err(|Failure { code, .. }| {
        let path = &pointer.path;
        let sentence = match code {
            "not-found" => format!(
                "Nothing was pushed: the content of `{path}` in Git LFS is neither in the workspace nor at \
                 the server."
            ),
            _ => format!(
                "Nothing was pushed: the content of `{path}` in Git LFS cannot be read: it is no ordinary \
                 file of the workspace."
            ),
        };
        LfsError::told("lfs-missing", sentence)
    })?;
    Ok(tokio::fs::File::from_std(opened))
}
