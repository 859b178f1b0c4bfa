//! A bucket of Cloud Storage.
//!
//! Every write states the generation that it replaces, 0 for none, so that a try which is repeated, late or
//! doubled on the way never overwrites what came after it. Every write also carries an id of its own in the
//! object's metadata, with those of the writes before it: where the condition fails because an earlier try of
//! the same write was carried out and only its answer was lost, the id tells (`writes.rs`).
//!
//! Content goes over JSON, names, conditions and composing over gRPC, as the client divides them; both know
//! checksums (CRC32C) and check them. Does not watch: Cloud Storage tells nobody of a change, so
//! [`Watch::changed`] waits its whole time.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_storage::client::{Storage, StorageControl};
use google_cloud_storage::model_ext::ReadRange;
use google_cloud_storage::retry_policy::RetryableErrors;
use tokio::io::AsyncSeekExt as _;
use tokio_util::io::StreamReader;

use super::names::Name;
use super::{
    Bucket, BucketError, Durability, Entry, Generation, Object, Reader, Result, Uploaded, Watch,
    When,
};
use crate::config::Google;
use crate::google;
use calls::{LOOKS, described, write_id};
use failure::{Failure, absent_is_none};
use writes::Writes;

mod calls;
mod failure;
mod upload;
mod writes;

/// How often, and for how long, a call is tried.
const TRIES: u32 = 8;
const TRY_FOR: Duration = Duration::from_secs(12);
/// An upload is tried for longer, and hangs where it is slower than this many bytes a second; then it is begun anew,
/// so many times.
const UPLOAD_FOR: Duration = if cfg!(test) {
    Duration::from_secs(5)
} else {
    Duration::from_secs(5 * 60)
};
const SLOWEST: u64 = 64 * 1024;
const UPLOADS: u32 = 2;
/// Between two pieces of a download; then it fails, and whoever reads may go on from there.
const SILENCE: Duration = if cfg!(test) {
    Duration::from_secs(3)
} else {
    Duration::from_secs(60)
};
/// Objects up to here are appended to by writing them anew: one call fewer than composing, which leaves
/// nothing behind.
const REWRITTEN: u64 = 512 * 1024;
/// Files up to here, in bytes, are uploaded by one request; it is begun anew where its connection is cut.
const IN_ONE_PIECE: usize = 4 * 1024 * 1024;
/// Names of one page.
const PAGE: usize = 1000;
/// Key of the metadata that names the writes.
const WRITE: &str = "gatehouse-write";

/// Objects of one bucket.
pub(super) struct CloudBucket {
    name: String,
    /// `projects/_/buckets/{name}`
    resource: String,
    objects: Storage,
    control: StorageControl,
    writes: Writes,
}

impl fmt::Debug for CloudBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CloudBucket").field(&self.name).finish()
    }
}

impl CloudBucket {
    /// Makes the clients; asks for nothing yet.
    pub(super) async fn open(name: &str, config: &Google) -> io::Result<Self> {
        let retry = || {
            RetryableErrors
                .with_attempt_limit(TRIES)
                .with_time_limit(TRY_FOR)
        };
        let mut objects = Storage::builder()
            .with_retry_policy(retry())
            .with_backoff_policy(google::backoff());
        if let Some((address, nobody)) = google::elsewhere(config) {
            objects = objects.with_endpoint(address).with_credentials(nobody);
        }
        let control = google::placed(StorageControl::builder(), config)
            .with_retry_policy(retry())
            .with_backoff_policy(google::backoff());
        Ok(Self {
            name: name.to_owned(),
            resource: format!("projects/_/buckets/{name}"),
            objects: objects.build().await.map_err(io::Error::other)?,
            control: control.build().await.map_err(io::Error::other)?,
            writes: Writes::default(),
        })
    }
}

#[async_trait]
impl Bucket for CloudBucket {
    async fn get(&self, name: &str) -> Result<Option<Object>> {
        let name = Name::parse(name)?;
        let found = self.read(&name).await;
        found.map_err(|failure| failure.into_error(&name))
    }

    async fn put(
        &self,
        name: &str,
        data: Bytes,
        when: When,
        // What is answered is stored in several places.
        _durability: Durability,
    ) -> Result<Generation> {
        let name = &Name::parse(name)?;
        let replaces = match when {
            When::Absent => Generation(0),
            When::Matches(generation) => generation,
            When::Always => {
                let write = |standing| self.write(name, data.clone(), standing);
                return self.whatever_stands(name, write).await;
            }
        };
        let written = self.write(name, data, replaces).await;
        written.map_err(|failure| failure.into_error(name))
    }

    async fn append(&self, name: &str, data: Bytes) -> Result<()> {
        let name = &Name::parse(name)?;
        for _ in 0..LOOKS {
            let standing = self.describe(name).await;
            let standing = standing.map_err(|failure| failure.into_error(name))?;
            let appended = match standing {
                None => self
                    .write(name, data.clone(), Generation(0))
                    .await
                    .map(drop),
                Some(object) if u64::try_from(object.size).is_ok_and(|size| size > REWRITTEN) => {
                    let onto = Generation(object.generation);
                    self.compose(name, data.clone(), onto).await
                }
                Some(_) => match self.read(name).await {
                    Ok(Some(object)) => {
                        let whole = [object.data, data.clone()].concat();
                        let written = self.write(name, whole.into(), object.generation).await;
                        written.map(drop)
                    }
                    // It was deleted meanwhile.
                    Ok(None) => Err(Failure::Condition),
                    Err(failure) => Err(failure),
                },
            };
            match appended {
                Err(Failure::Condition) => {}
                result => return result.map_err(|failure| failure.into_error(name)),
            }
        }
        Err(BucketError::Conflict(name.as_str().to_owned()))
    }

    async fn delete(&self, name: &str, when: When) -> Result<()> {
        let name = Name::parse(name)?;
        let condition = match when {
            When::Absent => return Err(BucketError::Conflict(name.as_str().to_owned())),
            When::Matches(generation) => Some(generation.0),
            When::Always => None,
        };
        let delete = || {
            let delete = self.control.delete_object().set_bucket(&self.resource);
            delete
                .set_object(name.as_str())
                .set_or_clear_if_generation_match(condition)
                .with_idempotency(true)
                .send()
        };
        match absent_is_none(Self::within(name.as_str(), delete).await) {
            Ok(_deleted_or_absent) => Ok(()),
            Err(failure) => Err(failure.into_error(&name)),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut token = String::new();
        while entries.len() < limit {
            // The start is among what is listed, and is not wanted.
            let wanted = (limit - entries.len()).saturating_add(1).min(PAGE);
            let list = || {
                let list = self.control.list_objects().set_parent(&self.resource);
                list.set_prefix(prefix)
                    .set_lexicographic_start(after.unwrap_or_default())
                    .set_page_size(i32::try_from(wanted).unwrap_or(i32::MAX))
                    .set_page_token(&token)
                    .send()
            };
            let page = match Self::within(prefix, list).await {
                Ok(page) => page,
                Err(Failure::Other(error)) => return Err(error),
                Err(_) => {
                    return Err(BucketError::Io {
                        name: prefix.to_owned(),
                        source: io::Error::other("the bucket cannot be listed"),
                    });
                }
            };
            let new = page
                .objects
                .into_iter()
                .filter(|object| Some(object.name.as_str()) != after)
                .map(|object| Entry {
                    size: u64::try_from(object.size).unwrap_or_default(),
                    generation: Generation(object.generation),
                    name: object.name,
                });
            entries.extend(new);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        entries.truncate(limit);
        Ok(entries)
    }

    async fn upload(&self, name: &str, mut file: tokio::fs::File, limit: u64) -> Result<Uploaded> {
        let name = &Name::parse(name)?;
        let failed = |source| BucketError::Io {
            name: name.as_str().to_owned(),
            source,
        };
        let measured = upload::measure(&mut file, limit).await.map_err(failed)?;
        let Some((uploaded, checksum)) = measured else {
            return Err(BucketError::TooLarge {
                name: name.as_str().to_owned(),
                limit,
            });
        };
        let standing = self.standing(name).await;
        let standing = standing.map_err(|failure| failure.into_error(name))?;
        let id = write_id();
        let line = self.writes.line(name.as_str(), standing, &id);
        let at_most = UPLOAD_FOR + Duration::from_secs(uploaded.size / SLOWEST);
        for _ in 0..UPLOADS {
            file.rewind().await.map_err(failed)?;
            let content = file.try_clone().await.map_err(failed)?;
            let write = self
                .objects
                .write_object(&self.resource, name.as_str(), content);
            let write = described(write, name, &line)
                .set_if_generation_match(standing.0)
                .with_known_crc32c(checksum)
                .with_resumable_upload_threshold(IN_ONE_PIECE)
                .with_retry_policy(
                    RetryableErrors
                        .with_attempt_limit(TRIES)
                        .with_time_limit(UPLOAD_FOR),
                );
            // The client's buffered way forgets what it has buffered where a connection ends (1.21.0); from a file it
            // can read again.
            let written = match tokio::time::timeout(at_most, write.send_unbuffered()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => match Failure::of(name.as_str(), error) {
                    Failure::Condition => self.wrote(name, &id).await.map(drop),
                    failure => Err(failure),
                },
                Err(_elapsed) => {
                    tracing::warn!(name = name.as_str(), "an upload does not go on");
                    continue;
                }
            };
            written.map_err(|failure| failure.into_error(name))?;
            return Ok(uploaded);
        }
        Err(failed(io::ErrorKind::TimedOut.into()))
    }

    async fn download(&self, name: &str, from: u64) -> Result<Option<(u64, Reader)>> {
        let name = Name::parse(name)?;
        let read = || {
            let read = self.objects.read_object(&self.resource, name.as_str());
            if from == 0 {
                read.send()
            } else {
                read.set_read_range(ReadRange::offset(from)).send()
            }
        };
        let opened = Self::within(name.as_str(), read).await;
        let reader = match absent_is_none(opened) {
            Ok(Some(reader)) => reader,
            Ok(None) => return Ok(None),
            Err(Failure::Range) => {
                let found = self.describe(&name).await;
                let found = found.map_err(|failure| failure.into_error(&name))?;
                let size = found.map(|object| u64::try_from(object.size).unwrap_or_default());
                return Ok(size.map(|size| (size, Box::pin(tokio::io::empty()) as Reader)));
            }
            Err(failure) => return Err(failure.into_error(&name)),
        };
        let size = u64::try_from(reader.object().size).unwrap_or_default();
        let pieces = futures::stream::try_unfold(reader, |mut reader| async move {
            let piece = tokio::time::timeout(SILENCE, reader.next()).await;
            let piece = piece.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?;
            let piece = piece.transpose().map_err(io::Error::other)?;
            Ok::<_, io::Error>(piece.map(|piece| (piece, reader)))
        });
        Ok(Some((
            size,
            Box::pin(StreamReader::new(Box::pin(pieces.into_stream()))) as Reader,
        )))
    }

    fn uri(&self, name: &str) -> String {
        format!("gs://{}/{name}", self.name)
    }

    fn directory(&self) -> Option<&Path> {
        None
    }

    fn watch(&self, _prefix: &str) -> Watch {
        Watch::blind()
    }
}

#[cfg(test)]
mod tests;
