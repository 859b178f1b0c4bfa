//! The calls that the promises of a bucket are kept with, each repeated as far as that is safe.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use google_cloud_gax::error::Error;
use google_cloud_storage::builder::storage::WriteObject;

use super::failure::{Failure, absent_is_none};
use super::writes::made_by;
use super::{CloudBucket, WRITE};
use crate::bucket::names::Name;
use crate::bucket::{Bucket, BucketError, Generation, Object, When};

/// A call that takes longer hangs, and is made again so many times.
const HANGS: Duration = if cfg!(test) {
    Duration::from_secs(3)
} else {
    Duration::from_secs(15)
};
const HANGING_TRIES: u32 = 3;
/// How often an object is read whose content does not arrive whole.
const READS: u32 = 5;
/// Room that is made for an object by the size it announces.
const LARGEST_ROOM: usize = 16 * 1024 * 1024;
/// How often a write without a condition of its own looks again because somebody else wrote meanwhile.
pub(super) const LOOKS: usize = 32;

impl CloudBucket {
    /// Carries a call out, and again where it hangs: the client itself does not notice that no more comes.
    pub(super) async fn within<T, F>(
        name: &str,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        for _ in 0..HANGING_TRIES {
            match tokio::time::timeout(HANGS, call()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => return Err(Failure::of(name, error)),
                Err(_elapsed) => tracing::warn!(name, "Cloud Storage does not answer"),
            }
        }
        Err(Failure::Other(BucketError::Io {
            name: name.to_owned(),
            source: io::ErrorKind::TimedOut.into(),
        }))
    }

    /// One write on one condition; [`Failure::Condition`] where it did not hold and nothing was written.
    pub(super) async fn write(
        &self,
        name: &Name,
        data: Bytes,
        replaces: Generation,
    ) -> Result<Generation, Failure> {
        let id = write_id();
        let line = self.writes.line(name.as_str(), replaces, &id);
        let write = || {
            let write = self
                .objects
                .write_object(&self.resource, name.as_str(), data.clone());
            described(write, name, &line)
                .set_if_generation_match(replaces.0)
                .send_unbuffered()
        };
        match Self::within(name.as_str(), write).await {
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
    pub(super) async fn wrote(&self, name: &Name, id: &str) -> Result<Generation, Failure> {
        let found = self.describe(name).await?.and_then(|found| {
            let writes = found.metadata.get(WRITE)?;
            made_by(id, Generation(found.generation), writes)
        });
        found.ok_or(Failure::Condition)
    }

    pub(super) async fn describe(
        &self,
        name: &Name,
    ) -> Result<Option<google_cloud_storage::model::Object>, Failure> {
        let get = || {
            let get = self.control.get_object().set_bucket(&self.resource);
            get.set_object(name.as_str()).send()
        };
        let found = absent_is_none(Self::within(name.as_str(), get).await)?;
        if let Some(object) = &found {
            let writes = object.metadata.get(WRITE).cloned().unwrap_or_default();
            let generation = Generation(object.generation);
            self.writes.saw(name.as_str(), generation, writes);
        }
        Ok(found)
    }

    /// The generation that stands there, 0 for none.
    pub(super) async fn standing(&self, name: &Name) -> Result<Generation, Failure> {
        let found = self.describe(name).await?;
        Ok(Generation(found.map_or(0, |object| object.generation)))
    }

    /// The object; read again where its content is not what its checksum says, or was replaced before its end.
    pub(super) async fn read(&self, name: &Name) -> Result<Option<Object>, Failure> {
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

    async fn read_once(&self, name: &Name) -> Result<Object, Failure> {
        let read = || {
            let read = self.objects.read_object(&self.resource, name.as_str());
            read.send()
        };
        let mut reader = Self::within(name.as_str(), read).await?;
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
        match tokio::time::timeout(HANGS, content).await {
            Ok(Ok(())) => {}
            Err(_elapsed) => return Err(Failure::Broken(Error::io("it does not go on"))),
            Ok(Err(error)) => {
                return Err(match Failure::of(name.as_str(), error) {
                    // Not that there is no such object: there is no such generation of it any more.
                    Failure::Absent => Failure::Broken(Error::io("it was replaced")),
                    failure => failure,
                });
            }
        }
        let writes = about.metadata.get(WRITE).cloned().unwrap_or_default();
        self.writes.saw(name.as_str(), generation, writes);
        Ok(Object {
            data: data.freeze(),
            generation,
        })
    }

    /// Adds `data` to an object of this generation by composing it with a part of its own.
    pub(super) async fn compose(
        &self,
        name: &Name,
        data: Bytes,
        onto: Generation,
    ) -> Result<(), Failure> {
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
        let compose = || {
            let compose = self.control.compose_object();
            compose.with_request(request.clone()).send()
        };
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
    pub(super) async fn whatever_stands<T, W>(
        &self,
        name: &Name,
        mut write: impl FnMut(Generation) -> W,
    ) -> Result<T, BucketError>
    where
        W: Future<Output = Result<T, Failure>>,
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
pub(super) fn described<T>(write: WriteObject<T>, name: &Name, writes: &str) -> WriteObject<T> {
    write
        .set_content_type(kind(name))
        .set_metadata([(WRITE, writes)])
}

/// Random, 16 digits.
pub(super) fn write_id() -> String {
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
