//! SIGSTOP and SIGCONT to job, agent and guard: what is paused goes on or is ended, every task reaches
//! exactly one end, and a call that nobody decided does not run.

use std::time::Duration;

use gatehouse_tests::manifest::{Manifest, guest};
use gatehouse_tests::processes::Process;
use gatehouse_tests::{Gateway, Receiver, Stream};
use serde_json::{Value, json};

/// What the scenario's command prints when it runs.
const RAN: &str = "as the agent asked";

/// A policy that takes three seconds for each call and then lets it run.
fn slow_policy() -> Manifest {
    let more = "on_error = \"allow\"\nlimits = { time = \"3s\" }";
    Manifest::empty().plugin("loops", "tool-permission", guest("loops"), more)
}

/// A task whose agent has asked for a command, which the slow policy is about to decide.
async fn mid_decision(gateway: &Gateway, receiver: &Receiver) -> (String, Stream) {
    let more = json!({"permissionMode": "bypassPermissions", "callbackUrl": receiver.url});
    let id = gateway
        .run_async(&gateway.request_with("run it", more))
        .await;
    let mut stream = gateway.events(&id, 0).await;
    stream
        .until(|event| event.id.is_some() && event.data.contains("tool_use"))
        .await;
    (id, stream)
}

async fn gateway() -> Gateway {
    Gateway::with()
        .scenario("one-bash-call")
        .plugins(&slow_policy())
        .env("GATEHOUSE__AGENT__DECISION_TIMEOUT", "4s")
        .env("GATEHOUSE__APPROVALS__TIMEOUT", "1s")
        .env("GATEHOUSE__AGENT__IDLE_TIMEOUT", "10s")
        .env("GATEHOUSE__AGENT__TERM_GRACE", "1s")
        .env("GATEHOUSE__JOB__HEARTBEAT", "1s")
        .env("GATEHOUSE__JOB__LEASE", "2s")
        .start()
        .await
}

fn agent(gateway: &Gateway) -> Process {
    let is_agent = |process: &Process| process.command.contains("--input-format");
    let mut processes = gateway.processes().into_iter();
    processes.find(is_agent).expect("it runs")
}

fn guard(gateway: &Gateway) -> Process {
    let mut processes = gateway.processes().into_iter();
    processes.find(Process::is_guard).expect("it runs")
}

async fn ends_once(gateway: &Gateway, receiver: &Receiver, id: &str) -> Value {
    let record = gateway.ended(id).await;
    let report = receiver.delivery(1).await.json();
    assert_eq!(report["status"], record["status"]);
    gateway.is_clean().await;
    assert_eq!(gateway.get(&format!("/tasks/{id}")).await, record);
    assert_eq!(receiver.deliveries().len(), 1);
    record
}

/// What the agent was told of its call.
async fn outcome_of_the_call(stream: Stream) -> Option<String> {
    let events = stream.rest().await;
    let mut lines = events
        .iter()
        .filter(|event| event.id.is_some())
        .map(gatehouse_tests::Event::json);
    let line = lines.find(|line| line["type"] == "user")?;
    Some(
        line["message"]["content"][0]["content"]
            .as_str()?
            .to_owned(),
    )
}

#[tokio::test]
async fn a_job_that_is_paused_for_a_moment_in_a_decision_decides_afterwards() {
    let receiver = Receiver::start([]).await;
    let gateway = gateway().await;
    let (id, stream) = mid_decision(&gateway, &receiver).await;

    let job = gateway.process_named("run-job").await;
    job.pause();
    tokio::time::sleep(Duration::from_secs(1)).await;
    job.resume();

    assert_eq!(outcome_of_the_call(stream).await.as_deref(), Some(RAN));
    let record = ends_once(&gateway, &receiver, &id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
}

#[tokio::test]
async fn a_call_that_a_paused_job_leaves_undecided_is_blocked_and_the_task_goes_on_afterwards() {
    let receiver = Receiver::start([]).await;
    let gateway = gateway().await;
    let (id, stream) = mid_decision(&gateway, &receiver).await;

    let job = gateway.process_named("run-job").await;
    job.pause();
    // Longer than the agent waits for an answer, a person's included, and the lease lasts.
    tokio::time::sleep(Duration::from_secs(17)).await;
    job.resume();

    let told = outcome_of_the_call(stream).await.expect("a result");
    assert!(told.contains("was not executed"), "{told}");
    let record = ends_once(&gateway, &receiver, &id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
}

#[tokio::test]
async fn an_agent_that_is_paused_goes_on_afterwards() {
    let receiver = Receiver::start([]).await;
    let gateway = gateway().await;
    let (id, stream) = mid_decision(&gateway, &receiver).await;

    let agent = agent(&gateway);
    agent.pause();
    tokio::time::sleep(Duration::from_secs(4)).await;
    agent.resume();

    assert_eq!(outcome_of_the_call(stream).await.as_deref(), Some(RAN));
    let record = ends_once(&gateway, &receiver, &id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
}

#[tokio::test]
async fn an_agent_that_is_paused_for_good_has_stalled_and_so_has_one_whose_guard_is() {
    for pick in [agent, guard] {
        let receiver = Receiver::start([]).await;
        let gateway = gateway().await;
        let (id, _stream) = mid_decision(&gateway, &receiver).await;

        pick(&gateway).pause();

        let record = ends_once(&gateway, &receiver, &id).await;
        assert_eq!(
            (&record["status"], &record["reason"]),
            (&json!("failed"), &json!("stalled")),
            "{record:#}"
        );
    }
}
