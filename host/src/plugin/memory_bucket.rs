//! A bucket in memory, for this part's tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use crate::bucket::{
    Bucket, BucketError, Durability, Entry, Generation, Object, Reader, Result, Uploaded, Watch,
    When,
};

#[derive(Debug, Default)]
pub(crate) struct MemoryBucket {
    objects: Mutex<BTreeMap<String, (Vec<u8>, i64)>>,
    appends: Mutex<usize>,
    appended: Notify,
    failing: bool,
}

impl MemoryBucket {
    pub(crate) fn failing() -> Self {
        Self {
            failing: true,
            ..Self::default()
        }
    }

    pub(crate) fn content(&self, name: &str) -> Option<String> {
        let objects = self.objects.lock().unwrap();
        objects
            .get(name)
            .map(|(data, _)| String::from_utf8_lossy(data).into_owned())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn appends(&self) -> usize {
        *self.appends.lock().unwrap()
    }

    pub(crate) async fn appended(&self) {
        self.appended.notified().await;
    }

    fn check(&self, name: &str) -> Result<()> {
        if self.failing {
            let source = std::io::Error::other("out of order");
            return Err(BucketError::Io {
                name: name.to_owned(),
                source,
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Bucket for MemoryBucket {
    async fn get(&self, name: &str) -> Result<Option<Object>> {
        self.check(name)?;
        let objects = self.objects.lock().unwrap();
        Ok(objects.get(name).map(|(data, generation)| Object {
            data: Bytes::copy_from_slice(data),
            generation: Generation(*generation),
        }))
    }

    async fn put(&self, name: &str, data: Bytes, when: When, _: Durability) -> Result<Generation> {
        self.check(name)?;
        let mut objects = self.objects.lock().unwrap();
        let known = objects.get(name).map(|(_, generation)| *generation);
        let holds = match when {
            When::Absent => known.is_none(),
            When::Matches(Generation(wanted)) => known == Some(wanted),
            When::Always => true,
        };
        if !holds {
            return Err(BucketError::Conflict(name.to_owned()));
        }
        let generation = known.unwrap_or(0) + 1;
        objects.insert(name.to_owned(), (data.to_vec(), generation));
        Ok(Generation(generation))
    }

    async fn append(&self, name: &str, data: Bytes) -> Result<()> {
        self.check(name)?;
        self.objects
            .lock()
            .unwrap()
            .entry(name.to_owned())
            .or_default()
            .0
            .extend(data);
        *self.appends.lock().unwrap() += 1;
        self.appended.notify_one();
        Ok(())
    }

    async fn delete(&self, name: &str, _: When) -> Result<()> {
        self.objects.lock().unwrap().remove(name);
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.check(prefix)?;
        let objects = self.objects.lock().unwrap();
        let found = objects.iter().filter(|(name, _)| {
            name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after)
        });
        let entry = |(name, (data, generation)): (&String, &(Vec<u8>, i64))| Entry {
            name: name.clone(),
            size: data.len() as u64,
            generation: Generation(*generation),
        };
        Ok(found.take(limit).map(entry).collect())
    }

    async fn upload(&self, name: &str, file: tokio::fs::File, limit: u64) -> Result<Uploaded> {
        self.check(name)?;
        let mut data = Vec::new();
        file.take(limit + 1).read_to_end(&mut data).await.unwrap();
        if data.len() as u64 > limit {
            return Err(BucketError::TooLarge {
                name: name.to_owned(),
                limit,
            });
        }
        let sha256 = hex::encode(Sha256::digest(&data));
        let size = data.len() as u64;
        self.objects
            .lock()
            .unwrap()
            .insert(name.to_owned(), (data, 1));
        Ok(Uploaded { size, sha256 })
    }

    async fn download(&self, _: &str, _: u64) -> Result<Option<(u64, Reader)>> {
        Ok(None)
    }

    fn uri(&self, name: &str) -> String {
        format!("memory:{name}")
    }

    fn directory(&self) -> Option<&Path> {
        None
    }

    fn watch(&self, _: &str) -> Watch {
        Watch::blind()
    }
}
