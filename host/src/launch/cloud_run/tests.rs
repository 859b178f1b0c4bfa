//! The launcher against a Cloud Run on loopback, whose executions are real processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_google::{ExecutionState, FakeGoogle, Fault, JobTemplate};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::bucket::directory::DirectoryBucket;
use crate::config::{Sources, load};
use crate::task::{Ending, Mode, Phase, Status};

const JOB: &str = "projects/p/locations/eu/jobs/runner";

struct World {
    google: FakeGoogle,
    launcher: CloudRunLauncher,
    tasks: Tasks,
    _folder: TempDir,
}

impl World {
    /// Executions run this script; none where the job is not deployed.
    async fn new(script: Option<&str>) -> Self {
        let (google, folder) = (
            FakeGoogle::start().await.unwrap(),
            tempfile::tempdir().unwrap(),
        );
        if let Some(script) = script {
            google.deploy_job(JOB, JobTemplate::new(sh(script), path()));
        }
        let settings = [
            ("GATEHOUSE_DATA_DIR", folder.path().to_str().unwrap()),
            ("GATEHOUSE__JOB__LAUNCHER", "cloud-run"),
            ("GATEHOUSE__GOOGLE__ENDPOINT", &google.url()),
            ("PROJECT_ID", "p"),
            ("REGION", "eu"),
            ("CLOUDRUN_JOB_NAME", "runner"),
        ];
        let environment = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = load(&Sources {
            environment: environment.into(),
            ..Sources::default()
        })
        .unwrap();
        let bucket = DirectoryBucket::open(folder.path().join("bucket")).unwrap();
        let tasks = Tasks::new(Arc::new(bucket));
        Self {
            launcher: CloudRunLauncher::new(&config, tasks.clone()).await.unwrap(),
            google,
            tasks,
            _folder: folder,
        }
    }

    /// A task whose job is about to be started.
    async fn task(&self) -> Record {
        let payload = crate::admission::Payload {
            shadow_set: None,
            request: json!({"timeoutMinutes": 2}).as_object().unwrap().clone(),
            plugin_set: "set".to_owned(),
            caller: "anonymous".to_owned(),
            tenant: String::new(),
            mode: Mode::Async,
            created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            approved_tools: Vec::new(),
            system_prompt_version: None,
            append_system_prompt_version: None,
        };
        let mut record = payload.first_record("t-1".parse().unwrap(), String::new());
        record.effective = json!({"timeoutMinutes": 2}).as_object().unwrap().clone();
        (record.phase, record.attempt) = (Phase::Starting, 1);
        self.tasks.create(&record, "sealed".into()).await.unwrap();
        record
    }

    async fn started(&self) -> Record {
        let mut record = self.task().await;
        record.execution_name = Some(self.launcher.start(&record).await.unwrap());
        record
    }

    fn states(&self) -> Vec<ExecutionState> {
        self.google
            .executions()
            .into_iter()
            .map(|(_, state)| state)
            .collect()
    }
}

fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn path() -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())])
}

async fn soon(what: impl Future) {
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, what).await.expect("soon");
}

#[tokio::test]
async fn one_request_starts_one_execution_and_its_answer_names_it() {
    let world = World::new(Some("sleep 600")).await;
    let record = world.started().await;
    assert_eq!(
        record.execution_name.unwrap(),
        format!("{JOB}/executions/runner-00001")
    );
    let requests = world.google.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        (
            requests[0].method.as_str(),
            requests[0].target.split('?').next().unwrap()
        ),
        ("POST", "/v2/projects/p/locations/eu/jobs/runner:run")
    );
    let payload = world.tasks.bucket().uri("tasks/t-1/payload.enc");
    let timeout = 120 + (HANGS_AFTER + ACTIONS_HANG_AFTER).as_secs();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&requests[0].body).unwrap(),
        json!({"overrides": {
            "containerOverrides": [{"env": [
                {"name": "TASK_ID", "value": "t-1"},
                {"name": "ENCRYPTED_PAYLOAD_PATH", "value": payload},
                {"name": "TASK_RUN_ID", "value": "t-1.1767323045000000000.1"},
            ]}],
            "taskCount": 1,
            "timeout": format!("{timeout}s"),
        }})
    );
}

#[tokio::test]
async fn whatever_happens_to_a_request_there_is_one_execution() {
    let faults = [
        Fault::LostReply,
        Fault::Reset,
        Fault::BrokenStream(10),
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(503),
    ];
    for (operation, fault) in faults
        .into_iter()
        .flat_map(|fault| [("run.run", fault), ("run.list", fault)])
    {
        let world = World::new(Some("sleep 600")).await;
        world.google.nth("run.run", 1, Fault::LostReply);
        world.google.nth(operation, 1, fault);
        let record = world.task().await;
        let name = match world.launcher.start(&record).await {
            // Who may not look does not know, and starts nothing more by itself.
            Err(LaunchError::NotNow(_)) => world.launcher.find(&record).await.unwrap().unwrap(),
            started => started.unwrap(),
        };
        assert_eq!(
            world.google.executions()[0].0,
            name,
            "{operation} {fault:?}"
        );
        assert_eq!(world.google.executions().len(), 1, "{operation} {fault:?}");
    }
}

#[tokio::test]
async fn a_request_that_came_to_nothing_is_made_again() {
    for fault in [Fault::Reset, Fault::Status(429), Fault::Status(503)] {
        let world = World::new(Some("sleep 600")).await;
        world.google.nth("run.run", 1, fault);
        world.started().await;
        assert_eq!(world.google.count("run.run"), 2, "{fault:?}");
        assert_eq!(world.google.executions().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn an_execution_is_found_among_many_by_its_run_id() {
    let world = World::new(Some("true")).await;
    let mut record = world.task().await;
    assert_eq!(world.launcher.find(&record).await.unwrap(), None);
    let name = world.launcher.start(&record).await.unwrap();
    record.attempt = 2;
    for _ in 0..120 {
        world.launcher.start(&record).await.unwrap();
    }
    record.attempt = 1;
    assert_eq!(world.launcher.find(&record).await.unwrap(), Some(name));
    let pages = world.google.requests();
    let last = pages.last().unwrap();
    assert!(
        last.target.contains("pageSize=100&pageToken=100"),
        "{}",
        last.target
    );
}

#[tokio::test]
async fn what_only_the_operator_can_mend_is_told_to_them_and_not_to_the_caller() {
    for (deployed, fault, hint) in [
        (None, None, "deploy the job first"),
        (Some("true"), Some(403), "grant-job-permissions.sh"),
        (Some("true"), Some(400), "INVALID_ARGUMENT"),
    ] {
        let world = World::new(deployed).await;
        if let Some(status) = fault {
            world.google.nth("run.run", 1, Fault::Status(status));
        }
        let Err(LaunchError::Refused { told, detail }) =
            world.launcher.start(&world.task().await).await
        else {
            panic!("it was not refused");
        };
        assert!(detail.contains(hint), "{detail}");
        assert!(!told.contains("projects/"), "{told}");
        assert_eq!(world.google.count("run.run"), 1);
    }
}

#[tokio::test]
async fn a_quota_that_stays_used_up_leaves_the_task_waiting() {
    let world = World::new(Some("true")).await;
    world.google.every("run.run", 1, Fault::Status(429));
    let started = world.launcher.start(&world.task().await).await;
    assert!(
        matches!(started, Err(LaunchError::NotNow(_))),
        "{started:?}"
    );
    assert_eq!(
        world.google.count("run.run"),
        usize::try_from(TRIES).unwrap()
    );
}

#[tokio::test]
async fn a_job_is_gone_when_its_execution_ended_in_whatever_way() {
    for script in ["exit 0", "exit 3"] {
        let world = World::new(Some(script)).await;
        soon(world.launcher.gone(&world.started().await)).await;
    }
    let world = World::new(Some("sleep 600")).await;
    let record = world.started().await;
    world
        .google
        .delete_execution(record.execution_name.as_ref().unwrap());
    soon(world.launcher.gone(&record)).await;

    let mut template = JobTemplate::new(sh("true"), path());
    template.image_missing = true;
    world.google.deploy_job(JOB, template);
    let record = Record {
        execution_name: Some(world.launcher.start(&record).await.unwrap()),
        ..record
    };
    soon(world.launcher.gone(&record)).await;
}

#[tokio::test]
async fn a_service_that_fails_is_no_end_and_a_held_lease_is_not_asked_about() {
    let world = World::new(Some("exit 0")).await;
    let record = world.started().await;
    world.google.every("run.get", 1, Fault::Status(500));
    assert!(!world.launcher.is_gone(&record).await);
    world.google.heal();
    assert!(world.launcher.is_gone(&record).await);

    let asked = world.google.count("run.get");
    let bucket = Arc::clone(world.tasks.bucket());
    let lease = Lease::take(bucket, &record.task_id, Duration::from_secs(60)).await;
    let watched = world.launcher.gone(&record);
    let watched = tokio::time::timeout(Duration::from_secs(3), watched).await;
    assert!(watched.is_err(), "it was taken for gone");
    assert_eq!(world.google.count("run.get"), asked);

    lease.unwrap().unwrap().release().await.unwrap();
    soon(world.launcher.gone(&record)).await;
}

#[tokio::test]
async fn who_watches_notices_the_end_of_the_record_too() {
    let world = World::new(Some("sleep 600")).await;
    let record = world.started().await;
    let watched = world.launcher.gone(&record);
    let ended = world.tasks.finish(&record.task_id, Ending::cancelled());
    let (_, ended) = tokio::join!(soon(watched), ended);
    ended.unwrap();
    let record = world.tasks.get(&record.task_id).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Cancelled);
}

#[tokio::test]
async fn a_kill_cancels_the_execution_and_tries_until_that_is_so() {
    let world = World::new(Some("sleep 600")).await;
    world.google.nth("run.cancel", 1, Fault::Reset);
    world.google.nth("run.cancel", 2, Fault::Status(429));
    let record = world.started().await;
    world.launcher.kill(&record).await;
    soon(world.launcher.gone(&record)).await;
    assert_eq!(world.states(), [ExecutionState::Cancelled]);
    let cancel = world
        .google
        .requests()
        .into_iter()
        .rfind(|one| one.operation == "run.cancel");
    let cancel = cancel.unwrap();
    assert_eq!(
        (cancel.target.split('?').next().unwrap(), &*cancel.body),
        (
            "/v2/projects/p/locations/eu/jobs/runner/executions/runner-00001:cancel",
            &b"{}"[..]
        )
    );
    // What is over is left alone.
    world.launcher.kill(&record).await;
}
