//! A bucket in memory, for tests that are about something else than buckets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::bucket::{
    Bucket, BucketError, Durability, Entry, Generation, Object, Reader, Result, Uploaded, Watch,
    When,
};

#[derive(Debug)]
pub(super) struct MemoryBucket {
    objects: Mutex<BTreeMap<String, Object>>,
    hints: watch::Sender<u64>,
}

impl MemoryBucket {
    pub(super) fn new() -> Self {
        Self {
            objects: Mutex::default(),
            hints: watch::Sender::new(0),
        }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds(when: When, present: Option<&Object>) -> bool {
    match when {
        When::Absent => present.is_none(),
        When::Matches(generation) => present.is_some_and(|object| object.generation == generation),
        When::Always => true,
    }
}

#[async_trait]
impl Bucket for MemoryBucket {
    async fn get(&self, name: &str) -> Result<Option<Object>> {
        Ok(self.objects().get(name).cloned())
    }

    async fn put(&self, name: &str, data: Bytes, when: When, _: Durability) -> Result<Generation> {
        let mut generation = Generation(0);
        self.hints.send_modify(|last| {
            *last += 1;
            generation = Generation(*last as i64);
        });
        let mut objects = self.objects();
        if !holds(when, objects.get(name)) {
            return Err(BucketError::Conflict(name.to_owned()));
        }
        objects.insert(name.to_owned(), Object { data, generation });
        Ok(generation)
    }

    async fn delete(&self, name: &str, when: When) -> Result<()> {
        let mut objects = self.objects();
        if objects.contains_key(name) && !holds(when, objects.get(name)) {
            return Err(BucketError::Conflict(name.to_owned()));
        }
        objects.remove(name);
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let wanted =
            |name: &str| name.starts_with(prefix) && after.is_none_or(|after| name > after);
        let objects = self.objects();
        let found = objects.iter().filter(|(name, _)| wanted(name)).take(limit);
        Ok(found
            .map(|(name, object)| Entry {
                name: name.clone(),
                size: object.data.len() as u64,
                generation: object.generation,
            })
            .collect())
    }

    async fn append(&self, name: &str, _: Bytes) -> Result<()> {
        Err(BucketError::InvalidName(name.to_owned()))
    }

    async fn upload(&self, name: &str, _: tokio::fs::File, _: u64) -> Result<Uploaded> {
        Err(BucketError::InvalidName(name.to_owned()))
    }

    async fn download(&self, _: &str, _: u64) -> Result<Option<(u64, Reader)>> {
        Ok(None)
    }

    fn uri(&self, name: &str) -> String {
        format!("memory://{name}")
    }

    fn directory(&self) -> Option<&Path> {
        None
    }

    fn watch(&self, _: &str) -> Watch {
        Watch::on(self.hints.subscribe())
    }
}
