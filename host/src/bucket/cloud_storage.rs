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
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_storage::builder::storage::WriteObject;
use google_cloud_storage::client::{Storage, StorageControl};
use google_cloud_storage::model_ext::ReadRange;
use google_cloud_storage::retry_policy::RetryableErrors;
use tokio_util::io::StreamReader;

use super::names::Name;
use super::{
    Bucket, BucketError, Durability, Entry, Generation, Object, Reader, Result, Uploaded, Watch,
    When,
};
use crate::config::Google;
use crate::google;
use writes::{Writes, made_by};

mod upload;
mod writes;

/// How often, and for how long, a call is tried.
const TRIES: u32 = 8;
const TRY_FOR: Duration = Duration::from_secs(30);
/// A call that hangs for longer has failed; content of any size streams outside of it.
const HANGS: Duration = Duration::from_secs(45);
/// Objects up to here are appended to by writing them anew: one call fewer than composing, which leaves
/// nothing behind.
const REWRITTEN: u64 = 512 * 1024;
/// How often an object is read whose content does not arrive whole.
const READS: u32 = 5;
/// Room that is made for an object by the size it announces.
const LARGEST_ROOM: usize = 16 * 1024 * 1024;
/// Files up to here, in bytes, are uploaded by one request; it is begun anew where its connection is cut.
const IN_ONE_PIECE: usize = 4 * 1024 * 1024;
/// Names of one page.
const PAGE: usize = 1000;
/// Key of the metadata that names the writes.
const WRITE: &str = "gatehouse-write";
/// How often a write without a condition of its own looks again because somebody else wrote meanwhile.
const LOOKS: usize = 32;

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

    async fn within<T>(
        name: &str,
        call: impl Future<Output = std::result::Result<T, Error>> + Send,
    ) -> std::result::Result<T, Failure> {
        match tokio::time::timeout(HANGS, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::of(name, error)),
            Err(_elapsed) => Err(Failure::Other(BucketError::Io {
                name: name.to_owned(),
                source: io::ErrorKind::TimedOut.into(),
            })),
        }
    }

    /// One write on one condition; [`Failure::Condition`] where it did not hold and nothing was written.
    async fn write(
        &self,
        name: &Name,
        data: Bytes,
        replaces: Generation,
    ) -> std::result::Result<Generation, Failure> {
        let id = write_id();
        let line = self.writes.line(name.as_str(), replaces, &id);
        let write = self
            .objects
            .write_object(&self.resource, name.as_str(), data);
        let write = described(write, name, &line).set_if_generation_match(replaces.0);
        match Self::within(name.as_str(), write.send_unbuffered()).await {
            Ok(object) => {
                let generation = Generation(object.generation);
                self.writes.saw(name.as_str(), generation, line);
                Ok(generation)
            }
            Err(Failure::Condition) => self.wrote(name, &id).await,
            Err(failure) => Err(failure),
        }
    }

    /// After a condition that failed: the generation that this very write made, if it made one.
    async fn wrote(&self, name: &Name, id: &str) -> std::result::Result<Generation, Failure> {
        let found = self.describe(name).await?.and_then(|found| {
            let writes = found.metadata.get(WRITE)?;
            made_by(id, Generation(found.generation), writes)
        });
        found.ok_or(Failure::Condition)
    }

    async fn describe(
        &self,
        name: &Name,
    ) -> std::result::Result<Option<google_cloud_storage::model::Object>, Failure> {
        let get = self
            .control
            .get_object()
            .set_bucket(&self.resource)
            .set_object(name.as_str())
            .send();
        let found = absent_is_none(Self::within(name.as_str(), get).await)?;
        if let Some(object) = &found {
            let writes = object.metadata.get(WRITE).cloned().unwrap_or_default();
            let generation = Generation(object.generation);
            self.writes.saw(name.as_str(), generation, writes);
        }
        Ok(found)
    }

    /// The generation that stands there, 0 for none.
    async fn standing(&self, name: &Name) -> std::result::Result<Generation, Failure> {
        let found = self.describe(name).await?;
        Ok(Generation(found.map_or(0, |object| object.generation)))
    }

    /// The object; read again where its content is not what its checksum says, or was replaced before its end.
    async fn read(&self, name: &Name) -> std::result::Result<Option<Object>, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            match absent_is_none(self.read_once(name).await) {
                Err(Failure::Broken(error)) if tries < READS => {
                    tracing::debug!(name = name.as_str(), %error, "an object is read again");
                }
                result => return result,
            }
        }
    }

    async fn read_once(&self, name: &Name) -> std::result::Result<Object, Failure> {
        let read = self.objects.read_object(&self.resource, name.as_str());
        let mut reader = Self::within(name.as_str(), read.send()).await?;
        let about = reader.object();
        let generation = Generation(about.generation);
        let size = usize::try_from(about.size).unwrap_or_default();
        let mut data = BytesMut::with_capacity(size.min(LARGEST_ROOM));
        let content = async {
            while let Some(piece) = reader.next().await.transpose()? {
                data.extend_from_slice(&piece);
            }
            Ok(())
        };
        match Self::within(name.as_str(), content).await {
            Ok(()) => {}
            // Not that there is no such object: there is no such generation of it any more.
            Err(Failure::Absent) => return Err(Failure::Broken(Error::io("it was replaced"))),
            Err(failure) => return Err(failure),
        }
        let writes = about.metadata.get(WRITE).cloned().unwrap_or_default();
        self.writes.saw(name.as_str(), generation, writes);
        Ok(Object {
            data: data.freeze(),
            generation,
        })
    }

    /// Adds `data` to an object of this generation by composing it with a part of its own.
    async fn compose(
        &self,
        name: &Name,
        data: Bytes,
        onto: Generation,
    ) -> std::result::Result<(), Failure> {
        use google_cloud_storage::model::ComposeObjectRequest;
        use google_cloud_storage::model::compose_object_request::SourceObject;

        let id = write_id();
        // Beside the object: who may write that may write this.
        let part = Name::parse(&format!("{}.{id}", name.as_str())).map_err(Failure::Other)?;
        let stored = self.write(&part, data, Generation(0)).await?;
        let whole = google_cloud_storage::model::Object::new()
            .set_bucket(&self.resource)
            .set_name(name.as_str())
            .set_content_type(kind(name))
            .set_metadata([(WRITE, self.writes.line(name.as_str(), onto, &id))]);
        let source = |name: &Name, generation: Generation| {
            SourceObject::new()
                .set_name(name.as_str())
                .set_generation(generation.0)
        };
        let request = ComposeObjectRequest::new()
            .set_destination(whole)
            .set_source_objects([source(name, onto), source(&part, stored)])
            .set_if_generation_match(onto.0);
        let compose = self.control.compose_object().with_request(request).send();
        let composed = match Self::within(name.as_str(), compose).await {
            // Where the answer was lost, the generation to compose with is gone, too.
            Err(Failure::Condition | Failure::Absent) => self.wrote(name, &id).await.map(drop),
            Err(failure) => Err(failure),
            Ok(_) => Ok(()),
        };
        if let Err(error) = self.delete(part.as_str(), When::Always).await {
            tracing::warn!(part = part.as_str(), %error, "a part that was appended is left behind");
        }
        composed
    }

    /// Repeats `write` with the generation that stands there until nobody else writes in between.
    async fn whatever_stands<T, W>(
        &self,
        name: &Name,
        mut write: impl FnMut(Generation) -> W,
    ) -> Result<T>
    where
        W: Future<Output = std::result::Result<T, Failure>>,
    {
        for _ in 0..LOOKS {
            let standing = self
                .standing(name)
                .await
                .map_err(|failure| failure.into_error(name))?;
            match write(standing).await {
                Err(Failure::Condition) => {}
                result => return result.map_err(|failure| failure.into_error(name)),
            }
        }
        Err(BucketError::Conflict(name.as_str().to_owned()))
    }
}

/// What every write says of itself.
fn described<T>(write: WriteObject<T>, name: &Name, writes: &str) -> WriteObject<T> {
    write
        .set_content_type(kind(name))
        .set_metadata([(WRITE, writes)])
}

/// Random, 16 digits.
fn write_id() -> String {
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(16);
    id
}

/// For whoever opens the object in a browser.
fn kind(name: &Name) -> &'static str {
    match name.as_str().rsplit_once('.') {
        Some((_, "json")) => "application/json",
        Some((_, "jsonl")) => "application/x-ndjson",
        _ => "application/octet-stream",
    }
}

/// How a call failed.
#[derive(Debug)]
enum Failure {
    /// The generation was another: 412 over JSON, `FAILED_PRECONDITION` over gRPC.
    Condition,
    /// There is no such object.
    Absent,
    /// The range begins at or behind the end.
    Range,
    /// What arrived is not what was sent, or not all of it.
    Broken(Error),
    Other(BucketError),
}

impl Failure {
    fn of(name: &str, error: Error) -> Self {
        let code = error.status().map(|status| status.code);
        match (error.http_status_code(), code) {
            (Some(412), _) | (_, Some(Code::FailedPrecondition)) => Self::Condition,
            (Some(404), _) | (_, Some(Code::NotFound)) => Self::Absent,
            (Some(416), _) | (_, Some(Code::OutOfRange)) => Self::Range,
            _ if error.is_deserialization() => Self::Broken(error),
            _ => Self::Other(BucketError::Io {
                name: name.to_owned(),
                source: io::Error::other(error),
            }),
        }
    }

    fn into_error(self, name: &Name) -> BucketError {
        let name = name.as_str().to_owned();
        match self {
            Self::Condition => BucketError::Conflict(name),
            Self::Absent => BucketError::Io {
                name,
                source: io::ErrorKind::NotFound.into(),
            },
            Self::Range => BucketError::Io {
                name,
                source: io::ErrorKind::UnexpectedEof.into(),
            },
            Self::Broken(error) => BucketError::Io {
                name,
                source: io::Error::new(io::ErrorKind::InvalidData, error),
            },
            Self::Other(error) => error,
        }
    }
}

fn absent_is_none<T>(
    found: std::result::Result<T, Failure>,
) -> std::result::Result<Option<T>, Failure> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Absent) => Ok(None),
        Err(failure) => Err(failure),
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
        let delete = self
            .control
            .delete_object()
            .set_bucket(&self.resource)
            .set_object(name.as_str())
            .with_idempotency(true);
        let delete = match when {
            When::Absent => return Err(BucketError::Conflict(name.as_str().to_owned())),
            When::Matches(generation) => delete.set_if_generation_match(generation.0),
            When::Always => delete,
        };
        match absent_is_none(Self::within(name.as_str(), delete.send()).await) {
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
            let list = self
                .control
                .list_objects()
                .set_parent(&self.resource)
                .set_prefix(prefix)
                .set_lexicographic_start(after.unwrap_or_default())
                .set_page_size(i32::try_from(wanted).unwrap_or(i32::MAX))
                .set_page_token(&token);
            let page = match Self::within(prefix, list.send()).await {
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
        let write = self
            .objects
            .write_object(&self.resource, name.as_str(), file);
        let line = self.writes.line(name.as_str(), standing, &id);
        let write = described(write, name, &line)
            .set_if_generation_match(standing.0)
            .with_known_crc32c(checksum)
            .with_resumable_upload_threshold(IN_ONE_PIECE);
        // The client's buffered way forgets what it has buffered where a connection ends (1.21.0); from a file it
        // can read again.
        let written = match write.send_unbuffered().await {
            Ok(_) => Ok(()),
            Err(error) => match Failure::of(name.as_str(), error) {
                Failure::Condition => self.wrote(name, &id).await.map(drop),
                failure => Err(failure),
            },
        };
        written.map_err(|failure| failure.into_error(name))?;
        Ok(uploaded)
    }

    async fn download(&self, name: &str, from: u64) -> Result<Option<(u64, Reader)>> {
        let name = Name::parse(name)?;
        let read = self.objects.read_object(&self.resource, name.as_str());
        let read = if from == 0 {
            read
        } else {
            read.set_read_range(ReadRange::offset(from))
        };
        let opened = Self::within(name.as_str(), read.send()).await;
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
            let piece = reader.next().await.transpose().map_err(io::Error::other)?;
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
