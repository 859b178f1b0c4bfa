//! How reports were delivered, and once more. `tests/it/deliveries.rs` does it with real receivers.

use super::*;
use crate::webhook;

#[tokio::test]
async fn a_task_without_a_callback_or_an_end_has_nothing_to_deliver() {
    let gateway = Gateway::start(HANGS, &[]).await;
    let unknown = gateway.get("/tasks/none/deliveries").await;
    problem(unknown, 404, "task-not-found").await;

    let run = gateway.post("/run", &task()).await;
    let id = run.headers()["x-task-id"].to_str().unwrap().to_owned();
    let path = format!("/tasks/{id}/deliveries");
    problem(gateway.get(&path).await, 404, "delivery-not-found").await;
    let replay = gateway.post(&format!("{path}/replay"), &json!({})).await;
    problem(replay, 404, "delivery-not-found").await;

    gateway.post("/run-async", &async_task("t1")).await;
    let listed = gateway.get("/tasks/t1/deliveries").await;
    let listed: Value = listed.json().await.unwrap();
    assert_eq!(listed, json!({ "state": "pending", "attempts": [] }));
    let replay = gateway
        .post("/tasks/t1/deliveries/replay", &json!({}))
        .await;
    problem(replay, 409, "delivery-under-way").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_report_that_is_no_longer_kept_is_said_to_be_gone() {
    let gateway = Gateway::start(DIES, &[("GATEHOUSE__WEBHOOK__RETRY", "0s")]).await;
    gateway.post("/run-async", &async_task("t1")).await;
    let id: TaskId = "t1".parse().unwrap();
    gateway.over(&id).await;
    let bucket = gateway.app.tasks.bucket();
    let mut hints = bucket.watch("outbox/");
    // Nobody listens at the URL, and the ladder has one rung.
    loop {
        let entry = webhook::delivery(bucket.as_ref(), &id).await.unwrap();
        if entry.is_some_and(|entry| entry.state == webhook::State::Dead) {
            break;
        }
        hints.changed(std::time::Duration::from_millis(200)).await;
    }
    let listed: Value = gateway
        .get("/tasks/t1/deliveries")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(listed["state"], "dead");
    assert_eq!(listed["webhookId"], "msg_t1_failed");
    assert_eq!(listed["attempts"][0]["error"], "no connection");
    assert!(!listed.to_string().contains("token"), "{listed}");

    // It is written where it is kept before it is removed where it was due.
    while !bucket
        .list("outbox/due/", None, 1)
        .await
        .unwrap()
        .is_empty()
    {
        hints.changed(std::time::Duration::from_millis(200)).await;
    }
    let always = crate::bucket::When::Always;
    bucket.delete(&names::outbox(&id), always).await.unwrap();
    for answer in [
        gateway.get("/tasks/t1/deliveries").await,
        gateway
            .post("/tasks/t1/deliveries/replay", &json!({}))
            .await,
    ] {
        let body = problem(answer, 404, "delivery-not-found").await;
        assert!(body["error"].as_str().unwrap().contains("seven days"));
    }
    gateway.stop().await;
}
