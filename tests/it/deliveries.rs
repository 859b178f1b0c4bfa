//! How reports reached their receivers, and having them sent again.

use gatehouse_tests::{Gateway, Receiver, eventually};
use serde_json::{Value, json};

async fn start(retry: &str, timeout: &str) -> Gateway {
    Gateway::with()
        .env("GATEHOUSE__WEBHOOK__RETRY", retry)
        .env("GATEHOUSE__WEBHOOK__TIMEOUT", timeout)
        .start()
        .await
}

async fn a_task(gateway: &Gateway, receiver: &Receiver) -> String {
    let request = gateway.request_with("hello", json!({"callbackUrl": receiver.url}));
    gateway.run_async(&request).await
}

/// `GET /tasks/{id}/deliveries` once it is in this state.
async fn delivery(gateway: &Gateway, id: &str, state: &str) -> Value {
    eventually(&format!("the report of {id} is {state}"), || async {
        let path = format!("/tasks/{id}/deliveries");
        let answer = gateway.try_get(&path).await.ok()?;
        let delivery: Value = answer.json().await.ok()?;
        (delivery["state"] == state).then_some(delivery)
    })
    .await
}

async fn replay(gateway: &Gateway, id: &str) -> (u16, Value) {
    let path = format!("/tasks/{id}/deliveries/replay");
    let answer = gateway.post(&path, &json!({})).await;
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn each_attempt_is_told_of_and_a_dead_report_is_delivered_by_a_replay() {
    let receiver = Receiver::start([500, 503]).await;
    let gateway = start("0s, 50ms", "30s").await;
    let id = a_task(&gateway, &receiver).await;

    let dead = delivery(&gateway, &id, "dead").await;
    assert_eq!(dead["webhookId"], format!("msg_{id}_completed"));
    assert_eq!(dead.get("nextAttemptAt"), None);
    let attempts = dead["attempts"].as_array().unwrap();
    let told: Vec<(&Value, &Value)> = attempts
        .iter()
        .map(|attempt| (&attempt["number"], &attempt["statusCode"]))
        .collect();
    assert_eq!(told, [(&json!(1), &json!(500)), (&json!(2), &json!(503))]);
    assert!(attempts.iter().all(|attempt| attempt["at"].is_string()));
    assert!(attempts.iter().all(|it| it["durationMs"].is_number()));

    // Both gateway and task are long gone when somebody mends the receiver.
    let (status, begun) = replay(&gateway, &id).await;
    assert_eq!(
        (status, &begun["state"]),
        (202, &json!("pending")),
        "{begun}"
    );
    let third = receiver.delivery(3).await;
    let first = &receiver.deliveries()[0];
    assert_eq!(third.body, first.body);
    assert_eq!(third.header("webhook-id"), first.header("webhook-id"));
    let delivered = delivery(&gateway, &id, "delivered").await;
    assert_eq!(delivered["replays"], 1);
    assert_eq!(delivered["attempts"][2]["statusCode"], 200);
    assert!(delivered["deliveredAt"].is_string());
}

#[tokio::test]
async fn a_delivered_report_can_be_had_again_with_a_new_time_also_after_a_restart() {
    let receiver = Receiver::start([]).await;
    let mut gateway = start("0s", "30s").await;
    let id = a_task(&gateway, &receiver).await;
    delivery(&gateway, &id, "delivered").await;
    let first = receiver.delivery(1).await;
    gateway.kill().await;
    // The time is told in seconds.
    let stamp = |delivery: &gatehouse_tests::receiver::Delivery| {
        delivery.header("webhook-timestamp").parse::<i64>().unwrap()
    };
    while jiff::Timestamp::now().as_second() <= stamp(&first) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    gateway.start_again().await;

    assert_eq!(replay(&gateway, &id).await.0, 202);
    let second = receiver.delivery(2).await;
    assert_eq!(second.body, first.body);
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert!(stamp(&second) > stamp(&first));
    assert_ne!(
        second.header("webhook-signature"),
        first.header("webhook-signature")
    );
}

#[tokio::test]
async fn a_report_that_is_being_sent_is_not_sent_twice_at_once() {
    let receiver = Receiver::start([Receiver::HANGS]).await;
    let gateway = start("0s, 50ms", "3s").await;
    let id = a_task(&gateway, &receiver).await;
    receiver.delivery(1).await;

    let (status, refused) = replay(&gateway, &id).await;
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("delivery-under-way"))
    );
    let running = gateway.get(&format!("/tasks/{id}/deliveries")).await;
    assert_eq!(running["attempts"][0].get("durationMs"), None, "{running}");

    let delivered = delivery(&gateway, &id, "delivered").await;
    assert_eq!(delivered["attempts"][0]["error"], "timed out");
}

#[tokio::test]
async fn a_report_that_waits_for_its_next_attempt_is_sent_at_once_by_a_replay() {
    let receiver = Receiver::start([503]).await;
    let gateway = start("0s, 10h", "30s").await;
    let id = a_task(&gateway, &receiver).await;
    let waits = eventually("the first attempt ends", || async {
        let path = format!("/tasks/{id}/deliveries");
        let waits = gateway.get(&path).await;
        waits["attempts"][0]["statusCode"]
            .is_number()
            .then_some(waits)
    })
    .await;
    assert_eq!(waits["attempts"][0]["statusCode"], 503);
    let next: jiff::Timestamp = waits["nextAttemptAt"].as_str().unwrap().parse().unwrap();
    assert!(next > jiff::Timestamp::now());

    assert_eq!(replay(&gateway, &id).await.0, 202);
    receiver.delivery(2).await;
    delivery(&gateway, &id, "delivered").await;
}

#[tokio::test]
async fn a_gateway_that_is_killed_before_the_first_attempt_leaves_it_to_the_next() {
    let receiver = Receiver::start([]).await;
    // Time enough to be killed in.
    let mut gateway = start("2s, 2s", "30s").await;
    let id = a_task(&gateway, &receiver).await;
    gateway.ended(&id).await;
    gateway.kill().await;
    assert!(receiver.deliveries().is_empty());
    gateway.start_again().await;

    let delivered = delivery(&gateway, &id, "delivered").await;
    assert_eq!(delivered["attempts"][0]["number"], 1);
    assert_eq!(receiver.deliveries().len(), 1);
}

#[tokio::test]
async fn a_gateway_that_is_killed_before_it_noted_the_answer_sends_again_under_the_same_id() {
    let receiver = Receiver::start([Receiver::HANGS]).await;
    let mut gateway = start("0s, 50ms", "1s").await;
    let id = a_task(&gateway, &receiver).await;
    let first = receiver.delivery(1).await;
    gateway.kill().await;
    gateway.start_again().await;

    let second = receiver.delivery(2).await;
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.body, first.body);
    let delivered = delivery(&gateway, &id, "delivered").await;
    let attempts = delivered["attempts"].as_array().unwrap();
    // Killed within its second, or just after it had noted that it was over.
    let error = attempts[0]["error"].as_str().unwrap();
    assert!(
        error == "timed out" || error.starts_with("interrupted"),
        "{delivered}"
    );
    assert_eq!(attempts[1]["statusCode"], 200);
}

#[tokio::test]
async fn a_delivered_report_is_kept_apart_from_what_is_due_and_one_of_an_earlier_version_is_sent() {
    let receiver = Receiver::start([]).await;
    let mut gateway = start("0s", "30s").await;
    let id = a_task(&gateway, &receiver).await;
    delivery(&gateway, &id, "delivered").await;
    eventually("nothing is due", || async {
        gateway.objects("outbox/due/").is_empty().then_some(())
    })
    .await;

    gateway.stop().await;
    let kept = format!("outbox/{id}.json");
    let mut entry: Value = serde_json::from_slice(&gateway.object(&kept).unwrap()).unwrap();
    entry["state"] = json!("pending");
    gateway.overwrite(&kept, entry.to_string().as_bytes());
    gateway.start_again().await;

    receiver.delivery(2).await;
    delivery(&gateway, &id, "delivered").await;
    assert_eq!(receiver.deliveries().len(), 2);
}
