//! Cancelling, at every stage and any number of times.

use gatehouse_tests::{Gateway, Receiver};
use serde_json::{Value, json};

#[tokio::test]
async fn a_running_task_is_cancelled_with_its_whole_tree_and_reported_once() {
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with().scenario("loops-bash-sleep").start().await;
    let more = json!({"callbackUrl": receiver.url, "permissionMode": "bypassPermissions"});
    let id = gateway
        .run_async(&gateway.request_with("sleep", more))
        .await;
    gateway.process_named("sleep 300").await;

    let answers = futures::future::join_all((0..10).map(|_| async {
        gateway
            .post(&format!("/cancel/{id}"), &json!({}))
            .await
            .status()
    }))
    .await;
    assert!(
        answers
            .iter()
            .all(|status| *status == 200 || *status == 409),
        "{answers:?}"
    );

    let record = gateway.ended(&id).await;
    assert_eq!(
        (&record["status"], &record["exitCode"]),
        (&json!("cancelled"), &json!(130))
    );
    gateway.is_clean().await;
    let report = receiver.delivery(1).await.json();
    assert_eq!(
        (&report["status"], &report["exitCode"]),
        (&json!("cancelled"), &json!(130))
    );
    assert!(report["summary"]["cancelledAt"].is_string(), "{report:#}");
    assert_eq!(receiver.deliveries().len(), 1);
}

#[tokio::test]
async fn a_follower_is_told_that_the_task_was_cancelled() {
    let gateway = Gateway::with().scenario("hang").start().await;
    let mut stream = gateway.run(&gateway.request("hang")).await;
    stream.until(|event| event.id.is_some()).await;

    let answer = gateway
        .post(&format!("/cancel/{}", stream.task_id), &json!({}))
        .await;
    assert_eq!(answer.json::<Value>().await.unwrap()["status"], "cancelled");

    let told = stream.until(|event| event.name == "cancelled").await;
    assert_eq!(told.json()["message"], "Task cancelled by user");
    assert_eq!(stream.next().await.unwrap().name, "done");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn what_cannot_be_cancelled_is_said() {
    let gateway = Gateway::with().start().await;
    let stream = gateway.run(&gateway.request("hello")).await;
    let id = stream.task_id.clone();
    stream.rest().await;

    let over = gateway.post(&format!("/cancel/{id}"), &json!({})).await;
    assert_eq!(over.status(), 409);
    assert_eq!(over.json::<Value>().await.unwrap()["status"], "completed");
    assert_eq!(
        gateway.post("/cancel/nobody", &json!({})).await.status(),
        404
    );
    let invalid = gateway.post("/cancel/not%20an%20id", &json!({})).await;
    assert_eq!(invalid.status(), 400);
}
