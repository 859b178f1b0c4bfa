//! Jobs on Cloud Run: a gateway that asks a Google on loopback for executions, which are processes of the
//! real binary and share its directory as their bucket.

use fake_google::{ExecutionState, FakeGoogle, JobTemplate};

use crate::gateway::Builder;
use crate::{Gateway, binary, eventually};

/// The bucket of gateways that keep everything in Cloud Storage.
pub const BUCKET: &str = "logs";

/// The name of the job.
const JOB: &str = "projects/p/locations/eu/jobs/runner";

/// The service; it ends with the test, and its executions with it.
#[derive(Debug)]
pub struct CloudRun {
    /// For faults and requests.
    pub google: FakeGoogle,
}

impl CloudRun {
    /// Without any job.
    pub async fn start() -> Self {
        let google = FakeGoogle::start().await.expect("a free port");
        Self { google }
    }

    /// What a gateway needs to know.
    pub(crate) fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("GATEHOUSE__JOB__LAUNCHER", "cloud-run".to_owned()),
            ("GATEHOUSE__GOOGLE__ENDPOINT", self.google.url()),
            ("PROJECT_ID", "p".to_owned()),
            ("REGION", "eu".to_owned()),
            ("CLOUDRUN_JOB_NAME", "runner".to_owned()),
        ]
    }

    /// Deploys `gatehouse run-job` with the gateway's settings and this change.
    pub fn deploy(&self, gateway: &Gateway, change: impl FnOnce(&mut JobTemplate)) {
        let command = [binary().display().to_string(), "run-job".to_owned()];
        let mut template = JobTemplate::new(command, gateway.job_environment());
        template.output = Some(gateway.job_log());
        change(&mut template);
        self.google.deploy_job(JOB, template);
    }

    /// How the executions stand, oldest first.
    pub fn executions(&self) -> Vec<ExecutionState> {
        let executions = self.google.executions().into_iter();
        executions.map(|(_, state)| state).collect()
    }

    /// How many were asked for.
    pub fn starts(&self) -> usize {
        self.google.count("run.run")
    }

    /// Waits until no execution runs.
    pub async fn is_idle(&self) {
        eventually("every execution ends", || async {
            let runs = self.executions().contains(&ExecutionState::Running);
            (!runs).then_some(())
        })
        .await;
    }
}

impl Builder {
    /// Keeps everything in the bucket `logs` of this Google; keys and jobs stay on this machine.
    pub fn storage(self, google: &FakeGoogle) -> Self {
        self.env("GCS_LOGS_BUCKET", BUCKET)
            .env("GATEHOUSE__GOOGLE__ENDPOINT", &google.url())
            .env("GATEHOUSE__ENVELOPE__KEYS", "local")
            .env("GATEHOUSE__JOB__LAUNCHER", "local")
            // Receivers of the tests are on loopback.
            .env("GATEHOUSE__OUTBOUND__PRIVATE_ADDRESSES", "loopback")
    }

    /// Everything in the cloud: state in the bucket `logs`, keys in KMS, jobs as executions, once
    /// [`CloudRun::deploy`] was told of it.
    pub fn cloud(self, service: &CloudRun) -> Self {
        self.cloud_run(service)
            .env("GCS_LOGS_BUCKET", BUCKET)
            .env("GATEHOUSE__OUTBOUND__PRIVATE_ADDRESSES", "loopback")
    }

    /// Runs its jobs there, once [`CloudRun::deploy`] was told of it.
    pub fn cloud_run(mut self, service: &CloudRun) -> Self {
        for (name, value) in service.settings() {
            self = self.env(name, &value);
        }
        self
    }
}
