//! Google's services on one loopback port, as far as Gatehouse uses them, down to the bytes on the wire.
//!
//! Real where it matters to a client: preconditions, generations, checksums, pages, error bodies. Not here:
//! IAM, quotas, regions, billing. Every request is written down ([`FakeGoogle::requests`]), and faults are
//! injected by their number ([`FakeGoogle::nth`], [`FakeGoogle::every`]), so a run can be repeated exactly.

mod faults;
mod kms;
mod reply;
mod run;
mod secrets;
mod server;
mod storage;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use faults::Fault;
pub use kms::VersionState;
pub use run::{ExecutionState, JobTemplate};
pub use server::Request;
use server::Shared;

/// Runs until it is dropped.
#[derive(Debug)]
pub struct FakeGoogle {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl FakeGoogle {
    /// Listens on a free port of 127.0.0.1. Buckets need not be made first.
    pub async fn start() -> std::io::Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Listens there.
    pub async fn listen(address: SocketAddr) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Shared::new(address);
        let accepting = tokio::spawn(server::accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// `http://127.0.0.1:PORT`, for `google.endpoint`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Injects `fault` into the `n`th call from now, from 1, of operations that begin with `operation`,
    /// such as `storage.insert`, `kms.`, or all by the empty text.
    pub fn nth(&self, operation: &str, n: u64, fault: Fault) {
        self.shared.faults().nth(operation, n, fault);
    }

    /// Injects `fault` into each `n`th call from now on.
    pub fn every(&self, operation: &str, n: u64, fault: Fault) {
        self.shared.faults().every(operation, n, fault);
    }

    /// No more faults.
    pub fn heal(&self) {
        self.shared.faults().clear();
    }

    /// How many faults were injected.
    pub fn injected(&self) -> u64 {
        self.shared.faults().injected
    }

    /// Answers every call only after so long.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.faults().latency = latency;
    }

    /// The requests so far, oldest first; of more than 100,000 the last.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.journal().iter().cloned().collect()
    }

    /// How often operations that begin with `operation` were asked for.
    pub fn count(&self, operation: &str) -> usize {
        self.shared
            .journal()
            .iter()
            .filter(|request| request.operation.starts_with(operation))
            .count()
    }

    /// Makes a new version of a key the primary one; its number.
    pub fn rotate_key(&self, key: &str) -> usize {
        self.shared.keys().rotate(key)
    }

    /// Enables, disables or destroys a version of a key, which is `projects/…/cryptoKeys/…`.
    pub fn set_key_version(&self, key: &str, version: usize, state: VersionState) {
        self.shared.keys().set(key, version, state);
    }

    /// Adds a version to a secret, which is `projects/P/secrets/S`; its number.
    pub fn add_secret(&self, secret: &str, data: impl AsRef<[u8]>) -> usize {
        self.shared.secrets().add(secret, data.as_ref())
    }

    /// Enables, disables or destroys a version of a secret.
    pub fn set_secret_version(&self, secret: &str, version: usize, state: VersionState) {
        self.shared.secrets().set(secret, version, state);
    }

    /// The names of the objects of a bucket, in order.
    pub fn objects(&self, bucket: &str) -> Vec<String> {
        self.shared.objects().names(bucket)
    }

    /// The content of an object.
    pub fn object(&self, bucket: &str, name: &str) -> Option<bytes::Bytes> {
        self.shared.objects().content(bucket, name)
    }

    /// Puts an object there, whatever it was before.
    pub fn put_object(&self, bucket: &str, name: &str, content: &[u8]) {
        let content = bytes::Bytes::copy_from_slice(content);
        let about = serde_json::Value::Null;
        // Only a name that no object can have is refused.
        let _ = self
            .shared
            .objects()
            .put(bucket, name, None, content, &about);
    }

    /// Makes the job `projects/P/locations/L/jobs/J`, or changes it for executions to come.
    pub fn deploy_job(&self, name: &str, template: JobTemplate) {
        self.shared.runs().deploy(name, template);
    }

    /// Every execution by its whole name, oldest first.
    pub fn executions(&self) -> Vec<(String, ExecutionState)> {
        self.shared.runs().all()
    }

    /// The processes of executions that run.
    pub fn execution_pids(&self) -> Vec<u32> {
        self.shared.runs().pids()
    }

    /// Deletes an execution, which ends it.
    pub fn delete_execution(&self, name: &str) {
        self.shared.runs().delete(name);
    }
}

impl Drop for FakeGoogle {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.close();
        self.execution_pids().into_iter().for_each(run::end);
    }
}
