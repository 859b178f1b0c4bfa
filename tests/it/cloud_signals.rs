//! What a platform tells a job: to end at once, to stand still for a while, to go on.

use std::time::{Duration, Instant};

use gatehouse_tests::processes::Process;
use gatehouse_tests::{CloudRun, Gateway, Receiver, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

struct World {
    service: CloudRun,
    receiver: Receiver,
    gateway: Gateway,
    id: String,
    job: Process,
}

impl World {
    /// A task whose agent works for a long time.
    async fn at_work(settings: &[(&str, &str)]) -> Self {
        let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
        let mut builder = Gateway::with()
            .scenario("loops-bash-sleep")
            .cloud_run(&service)
            .env("GATEHOUSE__JOB__HEARTBEAT", "1s")
            .env("GATEHOUSE__JOB__LEASE", "4s");
        for (name, value) in settings {
            builder = builder.env(name, value);
        }
        let gateway = builder.start().await;
        service.deploy(&gateway, |_| ());
        let more = json!({"callbackUrl": receiver.url, "permissionMode": "bypassPermissions"});
        let id = gateway
            .run_async(&gateway.request_with("sleep", more))
            .await;
        gateway.process_named("sleep 300").await;
        let job = gateway.process_named("run-job").await;
        Self {
            service,
            receiver,
            gateway,
            id,
            job,
        }
    }

    /// For how many more seconds the job's lease is good.
    fn lease(&self) -> Option<i64> {
        let path = self.gateway.data().join("bucket/tasks").join(&self.id);
        let lease = std::fs::read(path.join("lease.json")).ok()?;
        let lease: Value = serde_json::from_slice(&lease).ok()?;
        let until: jiff::Timestamp = lease["expiresAt"].as_str()?.parse().ok()?;
        Some(until.duration_since(jiff::Timestamp::now()).as_secs())
    }

    async fn lease_is(&self, what: &str, wanted: impl Fn(i64) -> bool) {
        eventually(what, || async { self.lease().filter(|left| wanted(*left)) }).await;
    }

    async fn ends_once(&self) -> Value {
        let record = self.gateway.ended(&self.id).await;
        let report = self.receiver.delivery(1).await.json();
        assert_eq!(report["status"], record["status"]);
        self.gateway.is_clean().await;
        self.service.is_idle().await;
        assert_eq!(self.receiver.deliveries().len(), 1);
        record
    }
}

#[tokio::test]
async fn a_job_that_is_told_to_end_writes_its_end_in_time() {
    let world = World::at_work(&[]).await;
    let since = Instant::now();
    world.job.signal(Signal::SIGTERM);
    let record = world.ends_once().await;
    assert!(since.elapsed() < Duration::from_secs(30));
    assert_eq!(
        (&record["status"], &record["reason"]),
        (&json!("failed"), &json!("killed")),
        "{record:#}"
    );
    // The log reaches to the end that the record tells.
    let mut events = world.gateway.events(&world.id, 0).await;
    events.until(|event| event.data.contains("tool_use")).await;
    assert_eq!(events.rest().await.last().unwrap().name, "done");
}

#[tokio::test]
async fn a_job_whose_agent_will_not_end_breaks_off_before_the_platform_kills_it() {
    let world = World::at_work(&[("GATEHOUSE__AGENT__TERM_GRACE", "60s")]).await;
    let mut guards = world.gateway.processes().into_iter();
    guards.find(Process::is_guard).expect("it runs").pause();
    let since = Instant::now();
    world.job.signal(Signal::SIGTERM);
    eventually("the job ends", || async {
        let mut processes = world.gateway.processes().into_iter();
        processes
            .all(|process| process.pid != world.job.pid)
            .then_some(())
    })
    .await;
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "{:?}",
        since.elapsed()
    );
    let record = world.ends_once().await;
    assert_eq!(record["reason"], "killed", "{record:#}");
}

#[tokio::test]
async fn a_cancelled_task_whose_job_is_told_to_end_first_is_cancelled() {
    let world = World::at_work(&[("GATEHOUSE__JOB__CANCEL_GRACE", "60s")]).await;
    world.job.pause();
    let cancel = format!("/cancel/{}", world.id);
    world.gateway.post(&cancel, &json!({})).await;
    world.job.signal(Signal::SIGTERM);
    world.job.resume();
    let record = world.ends_once().await;
    assert_eq!(
        (&record["status"], &record["exitCode"]),
        (&json!("cancelled"), &json!(130)),
        "{record:#}"
    );
}

#[tokio::test]
async fn a_job_that_is_moved_is_not_taken_for_dead_and_goes_on() {
    let world = World::at_work(&[]).await;
    world.job.signal(Signal::SIGTSTP);
    world
        .lease_is("the lease reaches far", |left| left > 60)
        .await;

    // On its way it stands still, for longer than its usual lease.
    world.job.pause();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let record = world.gateway.get(&format!("/tasks/{}", world.id)).await;
    assert_eq!(record["status"], "running", "{record:#}");
    world.job.resume();

    world
        .lease_is("the lease is as usual", |left| left <= 4)
        .await;
    let cancel = format!("/cancel/{}", world.id);
    world.gateway.post(&cancel, &json!({})).await;
    assert_eq!(world.ends_once().await["status"], "cancelled");
}
