//! Requests under an `Idempotency-Key`.

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;

use super::*;
use crate::bucket::{Durability, When};
use crate::http::idempotency::Key;
use crate::task::{Claim, ListQuery, Mode};

async fn post(gateway: &Gateway, path: &str, key: &str, body: &Value) -> reqwest::Response {
    let request = gateway.request(Method::POST, path);
    let request = request.header("idempotency-key", key).json(body);
    request.send().await.unwrap()
}

fn without_id() -> Value {
    let mut task = async_task("unused");
    task.as_object_mut().unwrap().remove("taskId");
    task
}

async fn ids(gateway: &Gateway) -> Vec<String> {
    let query = ListQuery {
        limit: 100,
        ..ListQuery::default()
    };
    let page = gateway.app.tasks.list(&query).await.unwrap();
    page.tasks
        .iter()
        .map(|record| record.task_id.to_string())
        .collect()
}

/// The claim that a request under this key would make now, of a task of this id.
fn claim(key: &str, body: &Value, id: &str) -> (String, Claim) {
    let headers = HeaderMap::from_iter([(
        reqwest::header::HeaderName::from_static("idempotency-key"),
        reqwest::header::HeaderValue::from_str(key).unwrap(),
    )]);
    let body = serde_json::to_vec(body).unwrap();
    let key = Key::of(&headers, "anonymous", Mode::Async, &body)
        .unwrap()
        .unwrap();
    let claim = Claim {
        fingerprint: key.fingerprint,
        task_id: id.parse().unwrap(),
        created_at: Timestamp::now(),
        answer: json!({ "taskId": id, "status": "pending" }),
    };
    (key.hash, claim)
}

async fn leave_payload(gateway: &Gateway, id: &str) {
    let name = names::payload(&id.parse().unwrap());
    let bucket = gateway.app.tasks.bucket();
    bucket
        .put(&name, "sealed".into(), When::Absent, Durability::Synced)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_hundred_requests_at_once_make_one_task_and_get_one_answer() {
    // Fewer places than requests: only one of them needs one.
    let settings = [
        ("MAX_CONCURRENT_TASKS", "1"),
        ("GATEHOUSE__QUEUE__MAX_WAITING", "1"),
    ];
    let gateway = Gateway::start(HANGS, &settings).await;
    let body = without_id();
    let answers = join_all((0..100).map(|_| post(&gateway, "/run-async", "k", &body))).await;
    let mut bodies = Vec::new();
    for answer in answers {
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        bodies.push((location, answer.bytes().await.unwrap()));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(ids(&gateway).await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn two_gateways_that_share_a_bucket_make_one_task_of_one_key() {
    let one = Gateway::start(HANGS, &[]).await;
    let data = one.data_dir();
    let other = Gateway::start(HANGS, &[("GATEHOUSE_DATA_DIR", &data)]).await;
    for round in 0..10 {
        let (key, mut body) = (round.to_string(), without_id());
        body["prompt"] = json!(key);
        let posts = (0..20).map(|n| {
            let gateway = if n % 2 == 0 { &one } else { &other };
            post(gateway, "/run-async", &key, &body)
        });
        let mut answers = Vec::new();
        for answer in join_all(posts).await {
            let status = answer.status();
            let answer = answer.text().await.unwrap();
            assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
            answers.push(answer);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(ids(&one).await.len(), round + 1);
    }
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_ones_answer_also_after_a_restart_and_the_tasks_end() {
    let mut gateway = Gateway::start(DIES, &[]).await;
    let body = without_id();
    let first = post(&gateway, "/run-async", "k", &body).await;
    let first: Value = first.json().await.unwrap();
    let id: TaskId = first["taskId"].as_str().unwrap().parse().unwrap();
    assert_eq!(gateway.over(&id).await.status, Status::Failed);
    for _ in 0..2 {
        let again = post(&gateway, "/run-async", "k", &body).await;
        assert_eq!(again.status(), StatusCode::ACCEPTED);
        assert_eq!(again.json::<Value>().await.unwrap(), first);
        let directory = gateway.stop().await;
        gateway = Gateway::start_in(directory, DIES, &[]).await;
    }
    assert_eq!(ids(&gateway).await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_stands_for_one_request_and_is_the_callers_own() {
    let gateway = Gateway::start(HANGS, &[("GATEHOUSE_API_KEYS", "one-key,two-key")]).await;
    let send = async |path: &str, api_key: &str, body: &Value| {
        let request = gateway
            .request(Method::POST, path)
            .header("x-api-key", api_key)
            .header("idempotency-key", "k");
        request.json(body).send().await.unwrap()
    };
    let (body, other) = (without_id(), task_with(json!({ "metadata": { "a": 1 } })));
    let first = send("/run-async", "one-key", &body).await;
    let first: Value = first.json().await.unwrap();
    let mut other_async = body.clone();
    other_async["prompt"] = json!("another");
    for (path, body) in [
        ("/run-async", &other_async),
        ("/run", &body),
        ("/run", &other),
    ] {
        let answer = send(path, "one-key", body).await;
        problem(answer, 409, "idempotency-conflict").await;
    }
    let theirs = send("/run-async", "two-key", &other_async).await;
    assert_eq!(theirs.status(), StatusCode::ACCEPTED);
    let theirs: Value = theirs.json().await.unwrap();
    assert_ne!(theirs["taskId"], first["taskId"]);
    let again = send("/run-async", "one-key", &body).await;
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    gateway.stop().await;
}

#[tokio::test]
async fn callers_whose_names_are_alike_do_not_share_their_keys() {
    // Both are `key-b3cf2d93` in records.
    let alike = ["api-key-for-tests-30325", "api-key-for-tests-105966"];
    let gateway = Gateway::start(HANGS, &[("GATEHOUSE_API_KEYS", &alike.join(","))]).await;
    let mut tasks = Vec::new();
    for api_key in alike {
        let request = gateway
            .request(Method::POST, "/run-async")
            .header("x-api-key", api_key)
            .header("idempotency-key", "k");
        let answer = request.json(&without_id()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let answer: Value = answer.json().await.unwrap();
        let id: TaskId = answer["taskId"].as_str().unwrap().parse().unwrap();
        let record = gateway.app.tasks.get(&id).await.unwrap().unwrap();
        assert_eq!(record.caller, "key-b3cf2d93");
        tasks.push(id);
    }
    assert_ne!(tasks[0], tasks[1]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_of_another_form_is_refused_before_anything_is_stored() {
    let gateway = Gateway::start(HANGS, &[]).await;
    for key in ["", &"x".repeat(256), "größe"] {
        let request = gateway.request(Method::POST, "/run").json(&task());
        let key = reqwest::header::HeaderValue::from_bytes(key.as_bytes()).unwrap();
        let answer = request.header("idempotency-key", key).send().await.unwrap();
        problem(answer, 400, "invalid-idempotency-key").await;
    }
    assert!(ids(&gateway).await.is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_refused_request_uses_up_no_key() {
    let gateway = Gateway::start(HANGS, &[]).await;
    let mut wrong = without_id();
    wrong["promt"] = json!("x");
    let refused = post(&gateway, "/run-async", "k", &wrong).await;
    problem(refused, 400, "unknown-field").await;
    let accepted = post(&gateway, "/run-async", "k", &without_id()).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_whose_task_never_came_into_being_makes_the_task_that_it_announced() {
    let gateway = Gateway::start(HANGS, &[]).await;
    let body = without_id();
    // As a gateway leaves it that is killed after the claim, and one that is killed after the payload.
    for (key, id, with_payload) in [("a", "made-1", false), ("b", "made-2", true)] {
        let (hash, claim) = claim(key, &body, id);
        gateway.app.tasks.stake(&hash, &claim, None).await.unwrap();
        if with_payload {
            leave_payload(&gateway, id).await;
        }
        let answers = join_all((0..10).map(|_| post(&gateway, "/run-async", key, &body))).await;
        for answer in answers {
            assert_eq!(answer.status(), StatusCode::ACCEPTED);
            assert_eq!(answer.json::<Value>().await.unwrap(), claim.answer);
        }
        let id: TaskId = id.parse().unwrap();
        let record = gateway.app.tasks.get(&id).await.unwrap().unwrap();
        assert_eq!(record.created_at, claim.created_at);
        // The payload is the new one: it can be opened.
        if let Some(payload) = gateway.app.tasks.payload(&id).await.unwrap() {
            assert_ne!(payload, "sealed");
        }
    }
    assert_eq!(ids(&gateway).await.len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn an_id_of_the_callers_own_choice_is_never_taken_from_somebody_else() {
    let gateway = Gateway::start(HANGS, &[]).await;
    let theirs = gateway.post("/run-async", &async_task("nightly")).await;
    assert_eq!(theirs.status(), StatusCode::ACCEPTED);
    let before = gateway
        .app
        .tasks
        .payload(&"nightly".parse().unwrap())
        .await
        .unwrap();
    let refused = post(&gateway, "/run-async", "k", &async_task("nightly")).await;
    problem(refused, 409, "task-exists").await;
    // The key leads nowhere, so it may be used for what was meant.
    let accepted = post(&gateway, "/run-async", "k", &async_task("nightly-2")).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);

    // A payload whose record nobody knows may be somebody's who is about to write it.
    leave_payload(&gateway, "weekly").await;
    let (hash, claim) = claim("w", &async_task("weekly"), "weekly");
    gateway.app.tasks.stake(&hash, &claim, None).await.unwrap();
    let waits = post(&gateway, "/run-async", "w", &async_task("weekly")).await;
    assert_eq!(waits.headers()["retry-after"], "60");
    problem(waits, 503, "request-under-way").await;
    let payload = names::payload(&"weekly".parse().unwrap());
    let bucket = gateway.app.tasks.bucket();
    bucket.delete(&payload, When::Always).await.unwrap();
    let made = post(&gateway, "/run-async", "w", &async_task("weekly")).await;
    assert_eq!(made.status(), StatusCode::ACCEPTED);
    let after = gateway.app.tasks.payload(&"nightly".parse().unwrap()).await;
    assert_eq!(after.unwrap(), before);
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_may_stand_for_something_new_after_a_day() {
    let gateway = Gateway::start(HANGS, &[]).await;
    let (hash, mut old) = claim("k", &without_id(), "old");
    old.created_at = Timestamp::now() - SignedDuration::from_hours(24);
    gateway.app.tasks.stake(&hash, &old, None).await.unwrap();
    let mut other = without_id();
    other["prompt"] = json!("another");
    let accepted = post(&gateway, "/run-async", "k", &other).await;
    let accepted: Value = accepted.json().await.unwrap();
    assert_ne!(accepted["taskId"], "old");
    let again = post(&gateway, "/run-async", "k", &other).await;
    assert_eq!(again.json::<Value>().await.unwrap(), accepted);
    gateway.stop().await;
}

#[tokio::test]
async fn a_repeated_run_follows_the_task_of_the_first_from_its_beginning() {
    let gateway = Gateway::start(DIES, &[]).await;
    let body = task();
    let answers = join_all((0..3).map(|_| post(&gateway, "/run", "k", &body))).await;
    let mut seen = Vec::new();
    for answer in answers {
        assert_eq!(answer.status(), StatusCode::OK);
        let id = answer.headers()["x-task-id"].to_str().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        assert!(text.contains("event: done"), "{text}");
        seen.push(id);
    }
    let late = post(&gateway, "/run", "k", &body).await;
    seen.push(late.headers()["x-task-id"].to_str().unwrap().to_owned());
    assert!(late.text().await.unwrap().contains("event: done"));
    seen.dedup();
    assert_eq!(seen.len(), 1);
    assert_eq!(ids(&gateway).await, seen);
    gateway.stop().await;
}
