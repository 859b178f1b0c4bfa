//! Requests under an `Idempotency-Key`, with the real binary killed in between.

use std::time::Duration;

use fake_google::FakeGoogle;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use gatehouse_tests::{Gateway, Receiver, Stream};
use serde_json::{Value, json};

async fn post(gateway: &Gateway, path: &str, key: &str, body: &Value) -> Option<reqwest::Response> {
    let request = reqwest::Client::new()
        .post(format!("{}{path}", gateway.url))
        .header("idempotency-key", key);
    request.json(body).send().await.ok()
}

#[tokio::test]
async fn a_key_makes_one_task_wherever_the_gateway_is_killed_and_the_retry_succeeds() {
    let receiver = Receiver::start([]).await;
    let mut gateway = Gateway::with().start().await;
    let request = gateway.request_with("hello", json!({"callbackUrl": receiver.url}));
    for (n, delay) in [0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 56]
        .into_iter()
        .enumerate()
    {
        let key = format!("key-{n}");
        let interrupted = async {
            let mut request = request.clone();
            request["labels"] = json!({"key": key});
            let answer = post(&gateway, "/run-async", &key, &request).await;
            match answer {
                Some(answer) => answer.json::<Value>().await.ok(),
                None => None,
            }
        };
        let first = tokio::time::timeout(Duration::from_millis(delay), interrupted).await;
        gateway.kill().await;
        gateway.start_again().await;

        let mut request = request.clone();
        request["labels"] = json!({"key": key});
        let answer = post(&gateway, "/run-async", &key, &request).await.unwrap();
        assert_eq!(answer.status(), 202, "killed after {delay} ms");
        let answer: Value = answer.json().await.unwrap();
        if let Ok(Some(first)) = first {
            assert_eq!(first, answer, "killed after {delay} ms");
        }
        let again = post(&gateway, "/run-async", &key, &request).await.unwrap();
        assert_eq!(again.json::<Value>().await.unwrap(), answer);

        let id = answer["taskId"].as_str().unwrap();
        gateway.ended(id).await;
        let made = gateway.get(&format!("/tasks?label=key:{key}")).await;
        let made = made["tasks"].as_array().unwrap();
        assert_eq!(made.len(), 1, "killed after {delay} ms: {made:?}");
        assert_eq!(made[0]["taskId"], id);
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_repeated_run_shows_the_first_ones_events_and_calls_no_model_again() {
    let gateway = Gateway::with().start().await;
    let request = gateway.request("hello");
    let first = post(&gateway, "/run", "k", &request).await.unwrap();
    let first = Stream::open(first).await;
    let id = first.task_id.clone();
    let first = first.rest().await;
    let asked = gateway.model_requests().len();

    let again = Stream::open(post(&gateway, "/run", "k", &request).await.unwrap()).await;
    assert_eq!(again.task_id, id);
    let again = again.rest().await;
    // The first event says how the task stands, which has changed.
    assert_eq!(first[1..], again[1..]);
    assert_eq!(gateway.model_requests().len(), asked);
}

#[tokio::test]
async fn of_many_requests_under_one_key_only_so_many_wait_and_all_lead_to_one_task() {
    let google = FakeGoogle::start().await.unwrap();
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with().storage(&google).start().await;
    let request = gateway.request_with("hello", json!({"callbackUrl": receiver.url}));
    google.set_latency(Duration::from_secs(1));

    let mut answers: FuturesUnordered<_> = (0..140)
        .map(|_| post(&gateway, "/run-async", "k", &request))
        .collect();
    for _ in 0..12 {
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["code"], "request-under-way");
    }
    google.set_latency(Duration::ZERO);
    let mut tasks = std::collections::BTreeSet::new();
    while let Some(answer) = answers.next().await {
        let answer: Value = answer.unwrap().json().await.unwrap();
        tasks.insert(answer["taskId"].as_str().expect("a task").to_owned());
    }

    assert_eq!(tasks.len(), 1);
    gateway.ended(tasks.first().unwrap()).await;
}
