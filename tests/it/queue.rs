//! Places, the queue in front of them, and what happens beyond it.

use gatehouse_tests::{Gateway, Receiver, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn no_more_jobs_run_than_allowed_and_beyond_the_queue_a_429_says_when_to_come_back() {
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with()
        .scenario("hang")
        .env("MAX_CONCURRENT_TASKS", "1")
        .env("GATEHOUSE__QUEUE__MAX_WAITING", "1")
        .start()
        .await;
    let request = gateway.request_with("hang", json!({"callbackUrl": receiver.url}));

    let running = gateway.run_async(&request).await;
    eventually("the first one runs", || async {
        (gateway.get(&format!("/tasks/{running}")).await["status"] == "running").then_some(())
    })
    .await;
    let waiting = gateway.run_async(&request).await;
    let refused = gateway.post("/run-async", &request).await;

    assert_eq!(refused.status(), 429);
    assert!(
        refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "queue-full");
    let status = gateway.get("/tasks/status").await;
    assert_eq!(
        (&status["active"], &status["max"], &status["waiting"]),
        (&json!(2), &json!(1), &json!(1)),
        "{status}"
    );
    assert_eq!(
        gateway.get(&format!("/tasks/{waiting}")).await["phase"],
        "queued"
    );

    // The place of one that ends goes to the one that waits.
    gateway
        .post(&format!("/cancel/{running}"), &json!({}))
        .await;
    gateway.ended(&running).await;
    eventually("the second one runs", || async {
        (gateway.get(&format!("/tasks/{waiting}")).await["status"] == "running").then_some(())
    })
    .await;
    gateway
        .post(&format!("/cancel/{waiting}"), &json!({}))
        .await;
    gateway.ended(&waiting).await;
    gateway.is_clean().await;
}

#[tokio::test]
async fn what_waits_survives_a_restart_and_runs_in_order() {
    let receiver = Receiver::start([]).await;
    let mut gateway = Gateway::with()
        .scenario("steps")
        .env("MAX_CONCURRENT_TASKS", "1")
        .start()
        .await;
    let request = gateway.request_with(
        "steps",
        json!({"callbackUrl": receiver.url, "maxTurns": 50}),
    );
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(gateway.run_async(&request).await);
    }

    gateway.stop().await;
    gateway.start_again().await;

    receiver.delivery(3).await;
    let order: Vec<String> = receiver
        .deliveries()
        .iter()
        .map(|d| d.json()["taskId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(order, ids);
    let listed = gateway.get("/tasks?limit=2").await;
    assert_eq!(
        listed["tasks"][0]["taskId"],
        ids[2].as_str(),
        "newest first"
    );
}
