//! A directory as a bucket: objects are plain files, shared by any number of processes.
//!
//! An object's generation is its file's time of modification in nanoseconds. It is set explicitly on
//! a temporary file before that is renamed into place, and is strictly greater than the generation
//! before it (`max(now, previous + 1)`): one atomic rename publishes content and generation together.
//!
//! * `.temp/` holds files that are being written, `.locks/` the locks; both are outside of every
//!   listing, because no object's name begins with a dot.
//! * [`When::Absent`] takes no lock: the kernel refuses to rename onto a name that is taken.
//! * Everything else that writes holds the name's lock, one of 256 files below `.locks/`. The
//!   modification time of that file is the greatest generation that was ever deleted under it, so
//!   that an object made anew never repeats a generation, even after the clock was set back.
//! * A directory that a deletion left empty is removed, except for those at the top; `.locks/folders`
//!   is held for that, and shared by those who have made one and not put anything into it yet.
//!
//! Does not protect against others who can write the directory; its mode (0700) does. Does not hold
//! an object `a` beside an object `a/b`: the second one written fails. Relies on a file system that
//! keeps times to the nanosecond (ext4, xfs, btrfs, tmpfs, overlayfs), which opening proves.
//!
//! File work runs on blocking threads, one hop each. What was begun there is finished even where
//! the caller's future is dropped.

mod disk;
mod folders;
mod generation;
mod hints;
mod listing;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::names::{self, Name};
use super::{
    Bucket, BucketError, Durability, Entry, Generation, Object, Reader, Result, Uploaded, Watch,
    When,
};
use disk::Disk;
use hints::Hints;

/// Objects as plain files below one directory, shared by any number of processes.
#[derive(Debug)]
pub struct DirectoryBucket {
    disk: Arc<Disk>,
    hints: Hints,
}

impl DirectoryBucket {
    /// Opens the directory, making it (mode 0700) where it is absent, and removes what processes
    /// that died more than an hour ago left half-written. Fails where the file system does not keep
    /// times to the nanosecond.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        let disk = Disk::open(&root)?;
        disk.remove_left_overs()?;
        Ok(Self {
            disk: Arc::new(disk),
            hints: Hints::default(),
        })
    }

    /// Runs `work` for `name` on a blocking thread.
    async fn run<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Disk, &Name) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let name = Name::parse(name)?;
        let disk = Arc::clone(&self.disk);
        on_blocking_thread(name.as_str().to_owned(), move || work(&disk, &name)).await
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    name: String,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(BucketError::Io {
            name,
            source: io::Error::other(stopped),
        }),
    }
}

#[async_trait]
impl Bucket for DirectoryBucket {
    async fn get(&self, name: &str) -> Result<Option<Object>> {
        self.run(name, Disk::get).await
    }

    async fn put(
        &self,
        name: &str,
        data: Bytes,
        when: When,
        durability: Durability,
    ) -> Result<Generation> {
        self.run(name, move |disk, name| {
            disk.put(name, &data, when, durability)
        })
        .await
    }

    async fn append(&self, name: &str, data: Bytes) -> Result<()> {
        self.run(name, move |disk, name| disk.append(name, &data))
            .await
    }

    async fn delete(&self, name: &str, when: When) -> Result<()> {
        self.run(name, move |disk, name| disk.delete(name, when))
            .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let base = names::directory_of(prefix)?;
        let disk = Arc::clone(&self.disk);
        let query = listing::Query {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            limit,
        };
        on_blocking_thread(prefix.to_owned(), move || {
            listing::list(disk.root(), &base, &query).map_err(|source| BucketError::Io {
                name: query.prefix.clone(),
                source,
            })
        })
        .await
    }

    async fn upload(&self, name: &str, file: tokio::fs::File, limit: u64) -> Result<Uploaded> {
        let file = file.into_std().await;
        self.run(name, move |disk, name| disk.upload(name, file, limit))
            .await
    }

    async fn download(&self, name: &str, from: u64) -> Result<Option<(u64, Reader)>> {
        let found = self
            .run(name, move |disk, name| disk.open_object_at(name, from))
            .await?;
        Ok(found.map(|(file, size)| {
            // Not more than was announced, should somebody append meanwhile.
            let content = tokio::fs::File::from_std(file).take(size.saturating_sub(from));
            (size, Box::pin(content) as Reader)
        }))
    }

    fn uri(&self, name: &str) -> String {
        format!("file://{}/{name}", self.disk.root().display())
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.disk.root())
    }

    /// Tells of changes in the directory that `prefix` names, not in those below it. Makes the
    /// directory where it is absent; that and the watch itself are single quick system calls, so
    /// they run where they are.
    fn watch(&self, prefix: &str) -> Watch {
        let made = names::directory_of(prefix)
            .map_err(io::Error::other)
            .and_then(|base| {
                let directory = self.disk.root().join(base);
                folders::make(self.disk.root(), &directory)?;
                Ok(directory)
            });
        match made {
            Ok(directory) => self.hints.watch(&directory),
            Err(error) => {
                tracing::debug!(prefix, %error, "cannot watch");
                Watch::blind()
            }
        }
    }
}

#[cfg(test)]
mod tests;
