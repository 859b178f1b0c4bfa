//! SIGKILL to job, agent, guard and gateway at moments that a seed decides: every task reaches exactly
//! one terminal state, its webhook comes with the same id, nothing is left behind.

use std::time::Duration;

use gatehouse_tests::{Gateway, Receiver};
use serde_json::{Value, json};

/// A small generator, so that a failure can be run again: the seed is in the message.
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

async fn a_task(gateway: &Gateway, receiver: &Receiver) -> String {
    let more =
        json!({"maxTurns": 50, "callbackUrl": receiver.url, "permissionMode": "bypassPermissions"});
    gateway
        .run_async(&gateway.request_with("steps", more))
        .await
}

async fn exactly_one_end(gateway: &Gateway, receiver: &Receiver, id: &str, seed: u64) -> Value {
    let record = gateway.ended(id).await;
    let deliveries = receiver.delivery(1).await;
    assert_eq!(deliveries.json()["taskId"], id, "seed {seed}");
    assert_eq!(deliveries.json()["status"], record["status"], "seed {seed}");
    let ids: Vec<String> = receiver
        .deliveries()
        .iter()
        .map(|d| d.header("webhook-id").to_owned())
        .collect();
    assert!(
        ids.iter().all(|other| *other == ids[0]),
        "seed {seed}: {ids:?}"
    );
    gateway.is_clean().await;
    // Nothing changes it any more.
    assert_eq!(
        gateway.get(&format!("/tasks/{id}")).await,
        record,
        "seed {seed}"
    );
    record
}

#[tokio::test]
async fn a_job_that_is_killed_is_reported_as_lost_and_its_agent_dies_with_it() {
    for seed in 1..=4_u64 {
        let mut random = Seed(seed);
        let receiver = Receiver::start([]).await;
        let gateway = Gateway::with().scenario("steps").start().await;
        let id = a_task(&gateway, &receiver).await;

        let job = gateway.process_named("run-job").await;
        tokio::time::sleep(Duration::from_millis(random.below(3_000))).await;
        job.kill();

        let record = exactly_one_end(&gateway, &receiver, &id, seed).await;
        assert_eq!(
            (&record["status"], &record["reason"]),
            (&json!("failed"), &json!("lost")),
            "seed {seed}"
        );
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_fails_its_task_with_137() {
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with().scenario("steps").start().await;
    let id = a_task(&gateway, &receiver).await;

    // Mid-task: the model has been asked, so the agent that runs is the one with the task.
    let mut stream = gateway.events(&id, 0).await;
    stream
        .until(|event| event.id.is_some() && event.json()["type"] == "assistant")
        .await;
    let agents = gateway
        .processes()
        .into_iter()
        .filter(|process| process.command.contains("--input-format"));
    agents
        .filter(|process| !process.is_guard())
        .for_each(|agent| agent.kill());

    let record = exactly_one_end(&gateway, &receiver, &id, 0).await;
    assert_eq!(
        (&record["reason"], &record["exitCode"]),
        (&json!("killed"), &json!(137))
    );
}

#[tokio::test]
async fn a_guard_that_is_killed_takes_its_agent_with_it() {
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with().scenario("loops-bash-sleep").start().await;
    let id = a_task(&gateway, &receiver).await;

    gateway.process_named("sleep 300").await;
    gateway
        .processes()
        .into_iter()
        .filter(gatehouse_tests::processes::Process::is_guard)
        .for_each(|guard| guard.kill());

    let record = exactly_one_end(&gateway, &receiver, &id, 0).await;
    assert_eq!(record["status"], "failed", "{record:#}");
}

#[tokio::test]
async fn a_gateway_that_is_killed_takes_up_its_tasks_again() {
    for seed in 11..=13_u64 {
        let mut random = Seed(seed);
        let receiver = Receiver::start([]).await;
        let mut gateway = Gateway::with()
            .scenario("steps")
            .env("MAX_CONCURRENT_TASKS", "1")
            .start()
            .await;
        let running = a_task(&gateway, &receiver).await;
        let waiting = gateway
            .run_async(&gateway.request_with(
                "steps",
                json!({"maxTurns": 50, "callbackUrl": receiver.url}),
            ))
            .await;

        tokio::time::sleep(Duration::from_millis(random.below(2_500))).await;
        gateway.kill().await;
        tokio::time::sleep(Duration::from_millis(random.below(1_500))).await;
        gateway.start_again().await;

        for id in [&running, &waiting] {
            assert_eq!(
                gateway.ended(id).await["status"],
                "completed",
                "seed {seed}"
            );
        }
        receiver.delivery(2).await;
        gateway.is_clean().await;
    }
}

#[tokio::test]
async fn job_and_gateway_killed_together_leave_nothing_behind() {
    let receiver = Receiver::start([]).await;
    let mut gateway = Gateway::with().scenario("loops-bash-sleep").start().await;
    let id = a_task(&gateway, &receiver).await;
    gateway.process_named("sleep 300").await;

    let job = gateway.process_named("run-job").await;
    gateway.kill().await;
    job.kill();
    gateway.start_again().await;

    let record = exactly_one_end(&gateway, &receiver, &id, 0).await;
    assert_eq!(record["reason"], "lost");
}

#[tokio::test]
async fn a_graceful_stop_leaves_jobs_running_and_the_next_start_follows_them() {
    let receiver = Receiver::start([]).await;
    let mut gateway = Gateway::with().scenario("steps").start().await;
    let mut stream = gateway
        .run(&gateway.request_with("steps", json!({"maxTurns": 50, "detach": true})))
        .await;
    let id = stream.task_id.clone();
    stream
        .until(|event| event.id.is_some() && event.json()["type"] == "assistant")
        .await;

    let status = gateway.stop().await;
    assert!(status.success(), "{status}: {}", gateway.log());
    // The stream ended without a word about the task's end.
    assert!(
        stream
            .rest()
            .await
            .iter()
            .all(|event| event.name == "message")
    );
    gateway.start_again().await;

    assert_eq!(gateway.ended(&id).await["status"], "completed");
    assert!(receiver.deliveries().is_empty());
    gateway.is_clean().await;
}

#[tokio::test]
async fn a_task_whose_record_is_damaged_ends_and_is_reported() {
    for restarted in [false, true] {
        let receiver = Receiver::start([]).await;
        let mut gateway = Gateway::with().scenario("loops-bash-sleep").start().await;
        let id = a_task(&gateway, &receiver).await;
        gateway.process_named("sleep 300").await;
        let created = gateway.get(&format!("/tasks/{id}")).await["createdAt"].clone();

        if restarted {
            let job = gateway.process_named("run-job").await;
            gateway.kill().await;
            job.kill();
        }
        gateway.overwrite(&format!("sessions/{id}/metadata.json"), b"");
        if restarted {
            gateway.start_again().await;
        } else {
            // The job notices too and ends its agent, but what it could write would be lost.
            let answer = gateway.try_get(&format!("/tasks/{id}")).await.unwrap();
            assert_eq!(answer.status(), 500);
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(answer["code"], "record-damaged", "{answer}");
        }

        let record = exactly_one_end(&gateway, &receiver, &id, 0).await;
        assert_eq!(
            (&record["status"], &record["reason"]),
            (&json!("failed"), &json!("internal")),
        );
        assert_eq!(record["createdAt"], created, "{record:#}");
        let listed = gateway.get("/tasks").await;
        assert_eq!(listed["tasks"].as_array().unwrap().len(), 1, "{listed:#}");
        assert_eq!(
            gateway.objects(&format!("tasks/{id}/")),
            Vec::<String>::new()
        );
    }
}
