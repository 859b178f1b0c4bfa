//! All state is objects in one bucket: a directory on one machine ([`directory`]), Cloud Storage in
//! the cloud (`cloud_storage`). An object changes only by compare-and-set on its generation, so that any number of
//! processes can share it.
//!
//! Does not know what the objects mean; `task/` and `plugin/` do. Relies on nothing but the disk, or on
//! Google's client.

#[cfg(feature = "gcp")]
mod cloud_storage;
#[cfg(test)]
pub(crate) mod contract;
pub mod directory;
mod names;
mod watch;

pub use watch::Watch;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::config::Config;

/// Tells one content of an object from every other that stood or will stand under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub i64);

impl Generation {
    /// About when the content was written. Generations are made from the clock: nanoseconds in a
    /// directory, microseconds in Cloud Storage, which does not promise it. Good enough to tell an
    /// old object from a fresh one, not for more.
    pub fn written_at(self) -> Option<jiff::Timestamp> {
        const NANOSECONDS_OF_1973: i64 = 100_000_000_000_000_000;
        if self.0 >= NANOSECONDS_OF_1973 {
            jiff::Timestamp::from_nanosecond(i128::from(self.0)).ok()
        } else {
            jiff::Timestamp::from_microsecond(self.0).ok()
        }
    }
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing stands under the name.
    Absent,
    /// Exactly this generation stands under the name.
    Matches(Generation),
    /// Whatever stands there. For objects with one writer only.
    Always,
}

/// Whether a write must survive a loss of power before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk, directory entry included: records, payloads, the outbox.
    Synced,
    /// Visible to every process and safe from a crash of ours: chunks of a log.
    Buffered,
}

/// An object's content.
#[derive(Clone, Debug)]
pub struct Object {
    /// The whole content.
    pub data: Bytes,
    /// What to name in [`When::Matches`] to replace it.
    pub generation: Generation,
}

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Full name, with `/` between its parts.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Generation at the time of the listing.
    pub generation: Generation,
}

/// What became of a streamed upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Bytes written.
    pub size: u64,
    /// Lower-case hex SHA-256 of what was written.
    pub sha256: String,
}

/// Why the bucket did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// [`When`] did not hold. Nothing was written.
    #[error("`{0}` was changed by somebody else meanwhile")]
    Conflict(String),
    /// The name is empty, absolute, too long, or has empty, `.` or `..` parts.
    #[error("`{0}` is no valid object name")]
    InvalidName(String),
    /// The content is above what the caller said it would take.
    #[error("`{name}` is larger than {limit} bytes")]
    TooLarge {
        /// The object.
        name: String,
        /// The bound in bytes.
        limit: u64,
    },
    /// The storage failed.
    #[error("storage failed at `{name}`: {source}")]
    Io {
        /// The object.
        name: String,
        /// The cause, for the log.
        #[source]
        source: std::io::Error,
    },
}

/// The content of an object, as it is read.
pub type Reader = std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>;

/// Shorthand of this module.
pub type Result<T> = std::result::Result<T, BucketError>;

/// The bucket that the settings name: one of Cloud Storage, or the directory below `data_dir`.
pub async fn open(config: &Config) -> std::io::Result<Arc<dyn Bucket>> {
    #[cfg(feature = "gcp")]
    if let Some(name) = &config.storage.logs_bucket {
        let bucket = cloud_storage::CloudBucket::open(name, &config.google).await?;
        return Ok(Arc::new(bucket));
    }
    let directory = directory::DirectoryBucket::open(config.data_dir.join("bucket"))?;
    Ok(Arc::new(directory))
}

/// Objects under names such as `sessions/{id}/metadata.json`.
#[async_trait]
pub trait Bucket: fmt::Debug + Send + Sync {
    /// The whole object, or none.
    async fn get(&self, name: &str) -> Result<Option<Object>>;

    /// Writes the whole object at once: a reader sees the old content or the new, never a part.
    async fn put(
        &self,
        name: &str,
        data: Bytes,
        when: When,
        durability: Durability,
    ) -> Result<Generation>;

    /// Adds to the end of an object that has one writer; creates it where it is absent. A reader may
    /// see a part of what is being added.
    async fn append(&self, name: &str, data: Bytes) -> Result<()>;

    /// Deletes the object, where there is one. `Matches` guards against a later writer. That it was there is not
    /// told: where an answer was lost, nobody knows.
    async fn delete(&self, name: &str, when: When) -> Result<()>;

    /// Names that begin with `prefix` and come after `after`, in byte order, at most `limit`.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>>;

    /// Streams `file` into the object in bounded memory, at most `limit` bytes; more is
    /// [`BucketError::TooLarge`] and leaves nothing behind.
    async fn upload(&self, name: &str, file: tokio::fs::File, limit: u64) -> Result<Uploaded>;

    /// A stream over the object from its byte `from` to its end, with the size of the whole; none where
    /// it is absent.
    async fn download(&self, name: &str, from: u64) -> Result<Option<(u64, Reader)>>;

    /// Where an operator finds the name: `gs://…` or `file://…`. A prefix ends in `/`.
    fn uri(&self, name: &str) -> String;

    /// The directory behind the bucket, where it is one.
    fn directory(&self) -> Option<&Path>;

    /// Tells when something below `prefix` may have changed. A hint that saves time, never the only
    /// way to learn of a change.
    fn watch(&self, prefix: &str) -> Watch;
}
