//! The dispatcher over a real bucket, with jobs that the tests play themselves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod damaged;
mod shared;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::bucket::Bucket;
use crate::bucket::directory::DirectoryBucket;
use crate::config::{Config, PrivateAddresses, Sources, load};
use crate::envelope::{Envelope, local::LocalKey};
use crate::outbound::Outbound;
use crate::task::{Ending, Lease, Phase, Reason, Status, Tasks};
use crate::webhook::Courier;

/// What the launcher was told to do.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Started(String),
    Killed(String),
    Swept(String),
}

/// Starts nothing: the test says when a job is gone.
#[derive(Debug)]
struct ScriptedLauncher {
    told: mpsc::UnboundedSender<Told>,
    /// By execution name; a name that is not there is gone.
    alive: Mutex<HashMap<String, CancellationToken>>,
    fails: bool,
    shared: bool,
}

impl ScriptedLauncher {
    fn add(&self, name: &str) {
        self.alive
            .lock()
            .unwrap()
            .insert(name.to_owned(), CancellationToken::new());
    }

    fn end(&self, name: &str) {
        if let Some(alive) = self.alive.lock().unwrap().remove(name) {
            alive.cancel();
        }
    }
}

#[async_trait]
impl Launcher for ScriptedLauncher {
    async fn start(&self, record: &Record) -> Result<String, LaunchError> {
        let id = &record.task_id;
        if self.fails {
            return Err(LaunchError::Refused {
                told: "The job could not be started.",
                detail: "no more processes".to_owned(),
            });
        }
        let name = format!("scripted/{id}");
        self.add(&name);
        self.told.send(Told::Started(id.to_string())).unwrap();
        Ok(name)
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    async fn is_gone(&self, record: &Record) -> bool {
        let name = record.execution_name.clone().unwrap_or_default();
        !self.alive.lock().unwrap().contains_key(&name)
    }

    async fn gone(&self, record: &Record) {
        let name = record.execution_name.clone().unwrap_or_default();
        let alive = self.alive.lock().unwrap().get(&name).cloned();
        if let Some(alive) = alive {
            alive.cancelled().await;
        }
    }

    async fn kill(&self, record: &Record) {
        self.told
            .send(Told::Killed(record.task_id.to_string()))
            .unwrap();
        self.end(&record.execution_name.clone().unwrap_or_default());
    }

    async fn sweep(&self, id: &TaskId) {
        self.told.send(Told::Swept(id.to_string())).unwrap();
    }
}

/// Everything but the dispatcher, which tests start and stop as a gateway would.
struct World {
    _directory: TempDir,
    config: Config,
    tasks: Tasks,
    launcher: Arc<ScriptedLauncher>,
    told: mpsc::UnboundedReceiver<Told>,
    courier: Arc<Courier>,
}

impl World {
    /// As the job notes it.
    async fn enter(&self, id: &TaskId, phase: Phase) {
        let change = |record: &mut Record| {
            record.phase = phase;
            true
        };
        self.tasks.update(id, change).await.unwrap();
    }

    fn new(settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut environment: std::collections::BTreeMap<String, String> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        environment.insert(
            "GATEHOUSE_DATA_DIR".to_owned(),
            directory.path().to_str().unwrap().to_owned(),
        );
        let config = load(&Sources {
            environment,
            ..Sources::default()
        })
        .unwrap();
        let bucket: Arc<dyn Bucket> =
            Arc::new(DirectoryBucket::open(directory.path().join("bucket")).unwrap());
        let outbound = crate::config::Outbound {
            private_addresses: PrivateAddresses::Deny,
            allow_http: false,
        };
        let courier = Courier::start(
            &config,
            Arc::clone(&bucket),
            Outbound::by(&outbound).unwrap(),
        );
        let (told_by, told) = mpsc::unbounded_channel();
        let launcher = ScriptedLauncher {
            told: told_by,
            alive: Mutex::default(),
            fails: false,
            shared: false,
        };
        let (tasks, launcher) = (Tasks::new(bucket), Arc::new(launcher));
        Self {
            _directory: directory,
            config,
            tasks,
            launcher,
            told,
            courier,
        }
    }

    async fn dispatcher(&self) -> Arc<Dispatcher> {
        let launcher = Arc::clone(&self.launcher) as Arc<dyn Launcher>;
        Dispatcher::start(
            &self.config,
            self.tasks.clone(),
            self.envelope(),
            launcher,
            Arc::clone(&self.courier),
        )
        .await
        .unwrap()
    }

    fn envelope(&self) -> Envelope {
        let (key, _made) = LocalKey::load_or_create(&self.config.envelope.local_key).unwrap();
        Envelope::new(Arc::new(key), &self.config.envelope)
    }

    async fn store(&self, id: &str, second: i64) -> TaskId {
        self.store_with(id, second, json!({})).await
    }

    async fn store_with(&self, id: &str, second: i64, effective: serde_json::Value) -> TaskId {
        let record: Record = serde_json::from_value(json!({
            "taskId": id, "status": "pending", "phase": "queued", "executionMode": "async",
            "caller": "anonymous", "createdAt": jiff::Timestamp::from_second(1_700_000_000 + second).unwrap(),
            "logsPath": "x", "encryptedPayloadPath": "x", "effective": effective, "pluginSet": "r",
            "callbackUrl": "https://example.invalid/hook",
        }))
        .unwrap();
        self.tasks.create(&record, "sealed".into()).await.unwrap();
        record.task_id
    }

    async fn submit(&self, dispatcher: &Dispatcher, id: &str) -> TaskId {
        let place = dispatcher.reserve(Owner::default(), false).unwrap();
        let id = self.store(id, 0).await;
        dispatcher.submit(place, id.clone());
        id
    }

    async fn record(&self, id: &TaskId) -> Record {
        self.tasks.get(id).await.unwrap().unwrap()
    }

    /// Waits until the record is as wanted.
    async fn until(&self, id: &TaskId, wanted: impl Fn(&Record) -> bool) -> Record {
        let mut hints = self.tasks.bucket().watch(&crate::task::names::session(id));
        loop {
            let record = self.record(id).await;
            if wanted(&record) {
                return record;
            }
            hints.changed(std::time::Duration::from_millis(200)).await;
        }
    }

    async fn over(&self, id: &TaskId) -> Record {
        self.until(id, |record| record.status.is_terminal()).await
    }

    async fn next(&mut self) -> Told {
        self.told.recv().await.unwrap()
    }

    /// Plays the job's good end.
    async fn complete(&self, id: &TaskId) {
        let ending = Ending {
            status: Status::Completed,
            reason: None,
            exit_code: 0,
            error: None,
            ..Ending::failed(Reason::Internal, "")
        };
        self.tasks.finish(id, ending).await.unwrap();
        self.launcher.end(&format!("scripted/{id}"));
    }
}

fn started(id: &str) -> Told {
    Told::Started(id.to_owned())
}

const ONE_AT_A_TIME: (&str, &str) = ("MAX_CONCURRENT_TASKS", "1");

#[tokio::test]
async fn tasks_start_in_order_as_places_free_up_and_their_jobs_are_noted() {
    let mut world = World::new(&[ONE_AT_A_TIME]);
    let dispatcher = world.dispatcher().await;
    let (a, b) = (
        world.submit(&dispatcher, "a").await,
        world.submit(&dispatcher, "b").await,
    );
    assert_eq!(world.next().await, started("a"));
    let record = world
        .until(&a, |record| record.execution_name.is_some())
        .await;
    assert_eq!((record.phase, record.attempt), (Phase::Starting, 1));
    assert_eq!(record.execution_name.as_deref(), Some("scripted/a"));
    assert_eq!(world.record(&b).await.phase, Phase::Queued);
    let status = dispatcher.status(None).await.unwrap();
    assert_eq!(
        (
            status.waiting,
            status.running,
            status.max,
            status.tasks.len()
        ),
        (1, 1, 1, 2)
    );
    world.complete(&a).await;
    assert_eq!(world.next().await, Told::Swept("a".to_owned()));
    assert_eq!(world.next().await, started("b"));
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_job_that_dies_without_a_result_is_lost_and_swept_and_reported() {
    let mut world = World::new(&[]);
    let dispatcher = world.dispatcher().await;
    let a = world.submit(&dispatcher, "a").await;
    assert_eq!(world.next().await, started("a"));
    world.launcher.end("scripted/a");
    assert_eq!(world.next().await, Told::Swept("a".to_owned()));
    let record = world.over(&a).await;
    assert_eq!(
        (record.status, record.reason),
        (Status::Failed, Some(Reason::Lost))
    );
    // What follows from the end is done before the attendance ends.
    dispatcher.stop().await;
    let report = crate::webhook::delivery(world.tasks.bucket().as_ref(), &a);
    assert!(report.await.unwrap().is_some());
}

#[tokio::test]
async fn a_job_that_cannot_be_started_fails_its_task() {
    let mut world = World::new(&[]);
    let told = world.launcher.told.clone();
    world.launcher = Arc::new(ScriptedLauncher {
        told,
        alive: Mutex::default(),
        fails: true,
        shared: false,
    });
    let dispatcher = world.dispatcher().await;
    let a = world.submit(&dispatcher, "a").await;
    let record = world.over(&a).await;
    assert_eq!(
        (record.status, record.reason),
        (Status::Failed, Some(Reason::Internal))
    );
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_waiting_task_that_fifty_cancel_at_once_is_cancelled_once_and_never_started() {
    let mut world = World::new(&[ONE_AT_A_TIME]);
    let dispatcher = world.dispatcher().await;
    let (a, b) = (
        world.submit(&dispatcher, "a").await,
        world.submit(&dispatcher, "b").await,
    );
    assert_eq!(world.next().await, started("a"));
    let cancels = (0..50).map(|_| dispatcher.cancel(&b, "caller"));
    let met = futures::future::join_all(cancels).await;
    let requested = met
        .iter()
        .filter(|met| matches!(met, Ok(Cancelled::Requested(_))))
        .count();
    assert_eq!(requested, 1, "{met:?}");
    assert!(met.iter().all(|met| matches!(
        met,
        Ok(Cancelled::Requested(_) | Cancelled::Already(_) | Cancelled::Over(_))
    )));
    let record = world.record(&b).await;
    assert_eq!(
        (record.status, record.exit_code),
        (Status::Cancelled, Some(130))
    );
    world.complete(&a).await;
    assert_eq!(world.next().await, Told::Swept("a".to_owned()));
    dispatcher.stop().await;
    assert!(world.told.try_recv().is_err());
}

#[tokio::test]
async fn a_cancelled_job_that_ends_itself_is_not_killed() {
    let mut world = World::new(&[]);
    let dispatcher = world.dispatcher().await;
    let a = world.submit(&dispatcher, "a").await;
    assert_eq!(world.next().await, started("a"));
    assert!(matches!(
        dispatcher.cancel(&a, "caller").await.unwrap(),
        Cancelled::Requested(_)
    ));
    assert!(matches!(
        dispatcher.cancel(&a, "caller").await.unwrap(),
        Cancelled::Already(_)
    ));
    world.tasks.finish(&a, Ending::cancelled()).await.unwrap();
    world.launcher.end("scripted/a");
    assert_eq!(world.next().await, Told::Swept("a".to_owned()));
    assert!(matches!(
        dispatcher.cancel(&a, "caller").await.unwrap(),
        Cancelled::Over(_)
    ));
    assert!(matches!(
        dispatcher
            .cancel(&"x".parse().unwrap(), "caller")
            .await
            .unwrap(),
        Cancelled::Unknown
    ));
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_cancelled_job_that_does_not_end_is_killed_and_the_task_is_cancelled() {
    let settings = [
        ("GATEHOUSE__JOB__CANCEL_GRACE", "20ms"),
        ("GATEHOUSE__JOB__HEARTBEAT", "1s"),
    ];
    let mut world = World::new(&settings);
    let dispatcher = world.dispatcher().await;
    let a = world.submit(&dispatcher, "a").await;
    assert_eq!(world.next().await, started("a"));
    dispatcher.cancel(&a, "caller").await.unwrap();
    assert_eq!(world.next().await, Told::Killed("a".to_owned()));
    assert_eq!(world.over(&a).await.status, Status::Cancelled);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_job_that_hangs_beyond_its_tasks_time_is_killed_and_the_task_timed_out() {
    let mut world = World::new(&[]);
    let dispatcher = world.dispatcher().await;
    let a: TaskId = "a".parse().unwrap();
    let place = dispatcher.reserve(Owner::default(), false).unwrap();
    world.store_with("a", 0, json!({"timeoutMinutes": 0})).await;
    dispatcher.submit(place, a.clone());
    assert_eq!(world.next().await, started("a"));
    assert_eq!(world.next().await, Told::Killed("a".to_owned()));
    let record = world.over(&a).await;
    assert_eq!(
        (record.status, record.reason, record.exit_code),
        (Status::Failed, Some(Reason::TimedOut), Some(124))
    );
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_cancelled_job_is_given_the_time_that_its_actions_take_and_then_some_to_report() {
    let mut world = World::new(&[
        ("GATEHOUSE__JOB__CANCEL_GRACE", "100ms"),
        ("GATEHOUSE__JOB__HEARTBEAT", "20ms"),
    ]);
    let dispatcher = world.dispatcher().await;
    let a = world.submit(&dispatcher, "a").await;
    assert_eq!(world.next().await, started("a"));
    world.enter(&a, Phase::Actions).await;
    dispatcher.cancel(&a, "caller").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(world.told.is_empty(), "the job was killed while it acted");
    world.enter(&a, Phase::Reporting).await;
    assert_eq!(world.next().await, Told::Killed("a".to_owned()));
    assert_eq!(world.over(&a).await.status, Status::Cancelled);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_job_that_carries_out_actions_after_its_tasks_time_is_left_to_it() {
    let mut world = World::new(&[]);
    let dispatcher = world.dispatcher().await;
    let place = dispatcher.reserve(Owner::default(), false).unwrap();
    let a = world.store_with("a", 0, json!({"timeoutMinutes": 0})).await;
    dispatcher.submit(place, a.clone());
    assert_eq!(world.next().await, started("a"));
    world.enter(&a, Phase::Actions).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    world.complete(&a).await;
    assert_eq!(world.next().await, Told::Swept("a".to_owned()));
    assert_eq!(world.over(&a).await.status, Status::Completed);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_gateway_that_stops_leaves_its_jobs_and_the_next_one_watches_them() {
    let mut world = World::new(&[ONE_AT_A_TIME]);
    let dispatcher = world.dispatcher().await;
    let a = world.submit(&dispatcher, "a").await;
    assert_eq!(world.next().await, started("a"));
    world
        .until(&a, |record| record.execution_name.is_some())
        .await;
    let (c, b) = (world.store("c", 20).await, world.store("b", 10).await);
    dispatcher.stop().await;

    let next = world.dispatcher().await;
    let status = next.status(None).await.unwrap();
    assert_eq!((status.waiting, status.running), (2, 1));
    world.complete(&a).await;
    assert_eq!(world.next().await, Told::Swept("a".to_owned()));
    assert_eq!(world.next().await, started("b"));
    world.complete(&b).await;
    assert_eq!(world.next().await, Told::Swept("b".to_owned()));
    assert_eq!(world.next().await, started("c"));
    assert_eq!(world.record(&c).await.attempt, 1);
    next.stop().await;
}

#[tokio::test]
async fn what_died_while_no_gateway_ran_is_lost_and_what_was_over_is_settled() {
    let mut world = World::new(&[]);
    let (dead, over) = (world.store("dead", 0).await, world.store("over", 1).await);
    let job_took_it = |record: &mut Record| {
        record.status = Status::Running;
        record.phase = Phase::Agent;
        record.execution_name = Some("scripted/gone".to_owned());
        true
    };
    world.tasks.update(&dead, job_took_it).await.unwrap();
    world.complete(&over).await;
    let left = crate::task::names::payload(&over);
    let bucket = Arc::clone(world.tasks.bucket());
    let (always, synced) = (
        crate::bucket::When::Always,
        crate::bucket::Durability::Synced,
    );
    bucket
        .put(&left, "left by a crash".into(), always, synced)
        .await
        .unwrap();
    let dispatcher = world.dispatcher().await;
    assert_eq!(world.over(&dead).await.reason, Some(Reason::Lost));
    let mut swept = [world.next().await, world.next().await].map(|told| format!("{told:?}"));
    swept.sort();
    assert_eq!(swept, ["Swept(\"dead\")", "Swept(\"over\")"]);
    let mut hints = bucket.watch(&crate::task::names::transient(&over));
    while bucket.get(&left).await.unwrap().is_some() {
        hints.changed(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(world.record(&over).await.status, Status::Completed);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_task_whose_lease_is_held_is_not_lost_although_its_job_cannot_be_seen() {
    let mut world = World::new(&[("GATEHOUSE__JOB__LEASE", "10s")]);
    let a = world.store("a", 0).await;
    let lease = Lease::take(Arc::clone(world.tasks.bucket()), &a, world.config.job.lease)
        .await
        .unwrap()
        .unwrap();
    world
        .tasks
        .update(&a, |record| {
            record.status = Status::Running;
            record.phase = Phase::Agent;
            true
        })
        .await
        .unwrap();
    let dispatcher = world.dispatcher().await;
    assert_eq!(dispatcher.load().running, 1);
    // The holder is this very process, so nothing may happen until it ends the task.
    drop(lease);
    assert_eq!(world.record(&a).await.status, Status::Running);
    world.complete(&a).await;
    assert_eq!(world.next().await, Told::Swept("a".to_owned()));
    assert_eq!(world.record(&a).await.status, Status::Completed);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_start_that_a_crash_interrupted_is_made_again_when_no_job_shows() {
    let mut world = World::new(&[
        ("GATEHOUSE__JOB__LEASE", "1s"),
        ("GATEHOUSE__JOB__HEARTBEAT", "100ms"),
    ]);
    let a = world.store("a", 0).await;
    world
        .tasks
        .update(&a, |record| {
            record.phase = Phase::Starting;
            record.attempt = 1;
            true
        })
        .await
        .unwrap();
    let dispatcher = world.dispatcher().await;
    assert_eq!(world.next().await, started("a"));
    assert_eq!(world.record(&a).await.attempt, 2);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let world = World::new(&[ONE_AT_A_TIME, ("GATEHOUSE__QUEUE__MAX_WAITING", "1")]);
    let dispatcher = world.dispatcher().await;
    let take = || dispatcher.reserve(Owner::default(), false);
    let places = [take().unwrap(), take().unwrap()];
    assert!(take().unwrap_err().retry_after.as_secs() > 0);
    drop(places);
    take().unwrap();
    dispatcher.stop().await;
}
