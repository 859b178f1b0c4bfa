//! What is stored.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::reply::Code;

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) data: Bytes,
    pub(crate) generation: i64,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) content_type: String,
}

/// An upload in pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) bucket: String,
    pub(crate) name: String,
    pub(crate) condition: Option<i64>,
    pub(crate) about: serde_json::Value,
    pub(crate) data: Vec<u8>,
    /// The finished object: asked again, it is told again.
    pub(crate) done: Option<serde_json::Value>,
}

#[derive(Debug, Default)]
pub(crate) struct Objects {
    buckets: BTreeMap<String, BTreeMap<String, Stored>>,
    pub(crate) sessions: HashMap<String, Session>,
    last_generation: i64,
}

pub(crate) type Refused = (Code, String);

impl Objects {
    pub(crate) fn names(&self, bucket: &str) -> Vec<String> {
        let objects = self.buckets.get(bucket);
        objects
            .into_iter()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect()
    }

    pub(crate) fn content(&self, bucket: &str, name: &str) -> Option<Bytes> {
        Some(self.get(bucket, name)?.data.clone())
    }

    pub(crate) fn get(&self, bucket: &str, name: &str) -> Option<&Stored> {
        self.buckets.get(bucket)?.get(name)
    }

    /// Names from `start` on with the prefix, in byte order.
    pub(crate) fn list<'a>(
        &'a self,
        bucket: &str,
        prefix: &'a str,
        start: String,
    ) -> impl Iterator<Item = (&'a String, &'a Stored)> {
        let from = start.max(prefix.to_owned());
        self.buckets
            .get(bucket)
            .into_iter()
            .flat_map(move |objects| objects.range(from.clone()..))
            .take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// The precondition: 0 means that there is nothing.
    pub(crate) fn check(
        &self,
        bucket: &str,
        name: &str,
        condition: Option<i64>,
    ) -> Result<(), Refused> {
        let found = self.get(bucket, name).map_or(0, |stored| stored.generation);
        if condition.is_some_and(|wanted| wanted != found) {
            return Err((
                Code::FailedPrecondition,
                "At least one of the pre-conditions you specified did not hold.".to_owned(),
            ));
        }
        Ok(())
    }

    pub(crate) fn put(
        &mut self,
        bucket: &str,
        name: &str,
        condition: Option<i64>,
        data: Bytes,
        about: &serde_json::Value,
    ) -> Result<&Stored, Refused> {
        if name.is_empty() || name.len() > 1024 || name.contains(['\r', '\n']) {
            return Err((
                Code::InvalidArgument,
                format!("Invalid object name: '{name}'."),
            ));
        }
        self.check(bucket, name, condition)?;
        let metadata = about.get("metadata").and_then(serde_json::Value::as_object);
        let stored = Stored {
            data,
            generation: self.next_generation(),
            metadata: metadata
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            content_type: about
                .get("contentType")
                .and_then(serde_json::Value::as_str)
                .unwrap_or("application/octet-stream")
                .to_owned(),
        };
        let objects = self.buckets.entry(bucket.to_owned()).or_default();
        objects.insert(name.to_owned(), stored);
        objects
            .get(name)
            .ok_or_else(|| (Code::Internal, "lost".to_owned()))
    }

    pub(crate) fn delete(
        &mut self,
        bucket: &str,
        name: &str,
        condition: Option<i64>,
    ) -> Result<(), Refused> {
        if self.get(bucket, name).is_none() {
            return Err(missing(bucket, name));
        }
        self.check(bucket, name, condition)?;
        if let Some(objects) = self.buckets.get_mut(bucket) {
            objects.remove(name);
        }
        Ok(())
    }

    /// Microseconds, as Google's look; never the same twice.
    fn next_generation(&mut self) -> i64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(0));
        self.last_generation = now.max(self.last_generation + 1);
        self.last_generation
    }
}

pub(crate) fn missing(bucket: &str, name: &str) -> Refused {
    (Code::NotFound, format!("No such object: {bucket}/{name}"))
}
