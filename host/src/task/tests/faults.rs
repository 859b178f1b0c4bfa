//! A bucket that fails when it is told to.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::bucket::{
    BucketError, Durability, Entry, Generation, Object, Reader, Result, Uploaded, Watch, When,
};

/// What goes wrong with a write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// It is not done.
    Refused,
    /// It is done, and the answer is lost.
    AnswerLost,
}

/// Writes (puts and deletes) are counted from 1; of some of them, something goes wrong.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<dyn Bucket>,
    faults: Mutex<Vec<(u64, Fault)>>,
    writes: AtomicU64,
    is_blind: bool,
}

impl Faulty {
    pub(super) fn new(inner: Arc<dyn Bucket>, faults: Vec<(u64, Fault)>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            faults: Mutex::new(faults),
            writes: AtomicU64::new(0),
            is_blind: false,
        })
    }

    /// Nothing goes wrong, but no watch tells of anything.
    pub(super) fn blind(inner: Arc<dyn Bucket>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            faults: Mutex::default(),
            writes: AtomicU64::new(0),
            is_blind: true,
        })
    }

    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    async fn write<T>(&self, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = self
            .faults
            .lock()
            .unwrap()
            .iter()
            .find(|(at, _)| *at == number)
            .map(|(_, fault)| *fault);
        let failure = || BucketError::Io {
            name: name.to_owned(),
            source: std::io::Error::other("told to"),
        };
        match fault {
            Some(Fault::Refused) => Err(failure()),
            Some(Fault::AnswerLost) => {
                work.await?;
                Err(failure())
            }
            None => work.await,
        }
    }
}

#[async_trait]
impl Bucket for Faulty {
    async fn get(&self, name: &str) -> Result<Option<Object>> {
        self.inner.get(name).await
    }
    async fn put(
        &self,
        name: &str,
        data: Bytes,
        when: When,
        durability: Durability,
    ) -> Result<Generation> {
        self.write(name, self.inner.put(name, data, when, durability))
            .await
    }
    async fn append(&self, name: &str, data: Bytes) -> Result<()> {
        self.inner.append(name, data).await
    }
    async fn delete(&self, name: &str, when: When) -> Result<()> {
        self.write(name, self.inner.delete(name, when)).await
    }
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.inner.list(prefix, after, limit).await
    }
    async fn upload(&self, name: &str, file: tokio::fs::File, limit: u64) -> Result<Uploaded> {
        self.inner.upload(name, file, limit).await
    }
    async fn download(&self, name: &str, from: u64) -> Result<Option<(u64, Reader)>> {
        self.inner.download(name, from).await
    }
    fn uri(&self, name: &str) -> String {
        self.inner.uri(name)
    }
    fn directory(&self) -> Option<&Path> {
        self.inner.directory()
    }
    fn watch(&self, prefix: &str) -> Watch {
        if self.is_blind {
            Watch::blind()
        } else {
            self.inner.watch(prefix)
        }
    }
}

/// Every write of a whole task goes wrong once, in both ways. Whoever drives it does what a caller, a
/// job and a restarted gateway do: try again.
#[tokio::test]
async fn whatever_write_fails_a_task_ends_once_and_leaves_nothing_transient() {
    let writes = {
        let directory = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(bucket(&directory), Vec::new());
        whole_task(&faulty).await;
        faulty.writes()
    };
    assert!(writes >= 10, "{writes}");
    for at in 1..=writes {
        for fault in [Fault::Refused, Fault::AnswerLost] {
            let directory = tempfile::tempdir().unwrap();
            let faulty = Faulty::new(bucket(&directory), vec![(at, fault)]);
            let record = whole_task(&faulty).await;
            let context = format!("write {at} {fault:?}");
            assert_eq!(record.status, Status::Completed, "{context}");
            assert_eq!(record.last_sequence, Some(3), "{context}");
            let chunks = faulty
                .list(&names::session(&record.task_id), None, 100)
                .await
                .unwrap();
            assert_eq!(chunks.len(), 4, "three chunks and the record: {context}");
            assert!(
                faulty.list("tasks/", None, 100).await.unwrap().is_empty(),
                "{context}"
            );
        }
    }
}

async fn whole_task(faulty: &Arc<Faulty>) -> Record {
    let shared: Arc<dyn Bucket> = faulty.clone();
    let tasks = Tasks::new(Arc::clone(&shared));
    let mut number = 0;
    let id = loop {
        number += 1;
        let record = record(&format!("task-{number}"));
        if tasks.create(&record, payload()).await.is_ok() {
            break record.task_id;
        }
        // A caller whose request failed may leave a payload for a minute, or a pending task, never
        // a half one that runs.
        for unfinished in tasks.unfinished().await.unwrap().records {
            tasks
                .finish(&unfinished.task_id, Ending::cancelled())
                .await
                .unwrap();
        }
        if let Ok(Some(_)) = tasks.payload(&record.task_id).await {
            shared
                .delete(&names::payload(&record.task_id), When::Always)
                .await
                .unwrap();
        }
    };
    let mut lease = loop {
        match Lease::take(Arc::clone(&shared), &id, Duration::from_secs(20)).await {
            Ok(Some(lease)) => break lease,
            // The lease of a try whose answer was lost is of this very process.
            Ok(None) => {
                let held = shared.get(&names::lease(&id)).await.unwrap();
                assert!(held.is_some());
                shared
                    .delete(&names::lease(&id), When::Always)
                    .await
                    .unwrap();
            }
            Err(_) => {}
        }
    };
    while tasks
        .update(&id, |record| {
            record.status = Status::Running;
            true
        })
        .await
        .is_err()
    {}
    let limits = LogLimits {
        flush_interval: Duration::ZERO,
        flush_size: 1,
        max_size: 1000,
    };
    let log = EventLog::open(Arc::clone(&shared), id.clone(), limits, Default::default())
        .await
        .unwrap();
    for line in ["1", "2", "3"] {
        log.append(line.as_bytes()).await;
    }
    let last = log.close().await.unwrap();
    while !lease.renew().await.unwrap_or(false) {}
    while tasks.finish(&id, completed(Some(last))).await.is_err() {}
    assert!(tasks.unfinished().await.unwrap().records.is_empty());
    tasks.get(&id).await.unwrap().unwrap()
}
