//! The API over a socket: the whole gateway, with a script in the place of the job.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod files;
mod gateway;
mod openapi;
mod repeats;
mod reports;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::task::{Status, TaskId, names};
use gateway::{DIES, Gateway, HANGS, async_task, problem, task, task_with};

#[tokio::test]
async fn health_tells_that_it_answers_and_more_where_it_is_asked() {
    let gateway = Gateway::start(DIES, &[]).await;
    assert_eq!(gateway.get("/health").await.text().await.unwrap(), "ok");
    assert_eq!(gateway.get("/healthz").await.text().await.unwrap(), "ok");
    assert_eq!(gateway.get("/").await.status(), StatusCode::OK);
    let ready = gateway.get("/ready").await;
    assert_eq!(
        (ready.status(), ready.json().await.unwrap()),
        (
            StatusCode::OK,
            json!({ "ready": true, "plugins": true, "storage": true })
        )
    );
    let health: Value = gateway
        .get("/health?verbose=true")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&health["status"], &health["keys"]),
        (&json!("healthy"), &json!("local"))
    );
    for field in [
        "server",
        "version",
        "storage",
        "isolation",
        "plugins",
        "queue",
        "claude",
    ] {
        assert!(!health[field].is_null(), "{field}: {health}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn every_mistake_is_answered_in_one_shape() {
    let gateway = Gateway::start(DIES, &[("GATEHOUSE__SERVER__BODY_LIMIT", "64KiB")]).await;
    problem(gateway.get("/nowhere").await, 404, "not-found").await;
    let wrong_method = gateway.get("/run").await;
    assert!(
        wrong_method.headers()["allow"]
            .to_str()
            .unwrap()
            .contains("POST")
    );
    problem(wrong_method, 405, "method-not-allowed").await;
    problem(
        gateway.get("/tasks/not%20an%20id").await,
        400,
        "invalid-task-id",
    )
    .await;
    problem(gateway.get("/tasks/%ff").await, 400, "invalid-task-id").await;
    problem(gateway.get("/tasks/none").await, 404, "task-not-found").await;
    problem(
        gateway.get("/tasks/none/events").await,
        404,
        "task-not-found",
    )
    .await;
    problem(
        gateway.get("/tasks/none/events?after=x").await,
        400,
        "invalid-query",
    )
    .await;
    problem(gateway.get("/tasks?limit=0").await, 400, "invalid-query").await;
    problem(
        gateway.get("/tasks?status=happy").await,
        400,
        "invalid-query",
    )
    .await;
    let unknown = problem(
        gateway.post("/cancel/none", &json!({})).await,
        404,
        "task-not-found",
    )
    .await;
    assert_eq!(
        (&unknown["error"], &unknown["taskId"]),
        (&json!("Task not found"), &json!("none"))
    );
    let plain = gateway
        .request(Method::POST, "/run")
        .body("{}")
        .send()
        .await
        .unwrap();
    problem(plain, 415, "unsupported-media-type").await;
    let refused = problem(
        gateway
            .post("/run", &task_with(json!({ "promt": "x" })))
            .await,
        400,
        "unknown-field",
    )
    .await;
    assert_eq!(refused["field"], json!("promt"));
    let long = task_with(json!({ "prompt": "x".repeat(70_000) }));
    problem(gateway.post("/run", &long).await, 413, "body-too-large").await;
    let given = gateway
        .request(Method::GET, "/health")
        .header("x-request-id", "mine-1")
        .send()
        .await
        .unwrap();
    assert_eq!(given.headers()["x-request-id"], "mine-1");
    let tasks: Value = gateway.get("/tasks").await.json().await.unwrap();
    assert_eq!(tasks, json!({ "tasks": [] }), "nothing was stored");
    gateway.stop().await;
}

#[tokio::test]
async fn an_accepted_task_can_be_looked_at_from_every_side_until_and_after_its_end() {
    let gateway = Gateway::start(DIES, &[]).await;
    let accepted = gateway.post("/run-async", &async_task("t1")).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    assert_eq!(accepted.headers()["location"], "/tasks/t1");
    let accepted: Value = accepted.json().await.unwrap();
    assert_eq!(
        (&accepted["taskId"], &accepted["status"]),
        (&json!("t1"), &json!("pending"))
    );
    for field in ["logsPath", "createdAt", "executionName"] {
        assert!(accepted[field].is_string(), "{field}");
    }
    problem(
        gateway.post("/run-async", &async_task("t1")).await,
        409,
        "task-exists",
    )
    .await;

    let record = gateway.over(&"t1".parse().unwrap()).await;
    assert_eq!(record.status, Status::Failed);
    let shown: Value = gateway.get("/tasks/t1").await.json().await.unwrap();
    assert_eq!(
        (&shown["status"], &shown["reason"]),
        (&json!("failed"), &json!("lost"))
    );
    assert_eq!(shown["callbackUrl"], json!("http://127.0.0.1:8099/hook"));
    assert!(shown["summary"]["durationMs"].is_number());
    assert!(!shown.to_string().contains("sk-ant"));
    let listed: Value = gateway
        .get("/tasks?status=failed&limit=1")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(listed["tasks"][0]["taskId"], json!("t1"));
    let events = gateway.get("/tasks/t1/events").await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert_eq!(events.headers()["x-task-id"], "t1");
    let events = events.text().await.unwrap();
    assert!(
        events.starts_with("event: task\n") && events.contains("event: error\n"),
        "{events}"
    );
    assert!(events.contains("event: done\n"), "{events}");
    let lines = gateway
        .request(Method::GET, "/tasks/t1/events")
        .header("accept", "application/x-ndjson");
    assert_eq!(lines.send().await.unwrap().text().await.unwrap(), "");
    assert_eq!(
        gateway.get("/tasks/t1/decisions").await.status(),
        StatusCode::OK
    );
    let kept: Value = gateway
        .get("/tasks/t1/artifacts")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(kept, json!({ "artifacts": [] }));
    problem(
        gateway.get("/tasks/t1/artifacts/a/b").await,
        404,
        "artifact-not-found",
    )
    .await;
    problem(
        gateway.get("/tasks/t1/artifacts/..%2f..%2ft1").await,
        404,
        "artifact-not-found",
    )
    .await;
    let over = problem(
        gateway.post("/cancel/t1", &json!({})).await,
        409,
        "task-over",
    )
    .await;
    assert_eq!(over["status"], json!("failed"));
    gateway.stop().await;
}

#[tokio::test]
async fn run_streams_from_the_task_to_its_end() {
    let gateway = Gateway::start(DIES, &[]).await;
    let answer = gateway.post("/run", &task()).await;
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    assert_eq!(answer.headers()["cache-control"], "no-cache");
    assert!(
        answer.headers()["x-task-id"]
            .to_str()
            .unwrap()
            .starts_with("sync-")
    );
    let events = answer.text().await.unwrap();
    assert!(
        events.starts_with("event: task\ndata: {\"taskId\":\"sync-"),
        "{events}"
    );
    assert!(
        events.contains("event: error\ndata: {\"error\":"),
        "{events}"
    );
    assert!(events.contains("event: done\n"), "{events}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_task_whose_only_follower_hangs_up_is_cancelled_and_its_job_killed() {
    let gateway = Gateway::start(HANGS, &[("GATEHOUSE__SERVER__DISCONNECT_GRACE", "10ms")]).await;
    let mut answer = gateway.post("/run", &task()).await;
    answer.chunk().await.unwrap();
    let id: TaskId = answer.headers()["x-task-id"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    drop(answer);
    let record = gateway.over(&id).await;
    assert_eq!(
        (record.status, record.exit_code),
        (Status::Cancelled, Some(130))
    );
    assert_eq!(record.cancel.unwrap().by, "disconnect");
    gateway.stop().await;
}

#[tokio::test]
async fn a_detached_task_outlives_its_follower() {
    let gateway = Gateway::start(HANGS, &[("GATEHOUSE__SERVER__DISCONNECT_GRACE", "0s")]).await;
    let mut answer = gateway
        .post("/run", &task_with(json!({ "detach": true })))
        .await;
    answer.chunk().await.unwrap();
    let id: TaskId = answer.headers()["x-task-id"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    drop(answer);
    let other = gateway.post("/run", &task()).await;
    let other_id: TaskId = other.headers()["x-task-id"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    drop(other);
    gateway.over(&other_id).await;
    assert!(
        gateway
            .app
            .tasks
            .get(&id)
            .await
            .unwrap()
            .unwrap()
            .cancel
            .is_none()
    );
    gateway.post(&format!("/cancel/{id}"), &json!({})).await;
    assert_eq!(gateway.over(&id).await.cancel.unwrap().by, "caller");
    gateway.stop().await;
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back_and_stores_nothing() {
    let settings = [
        ("MAX_CONCURRENT_TASKS", "1"),
        ("GATEHOUSE__QUEUE__MAX_WAITING", "1"),
    ];
    let gateway = Gateway::start(HANGS, &settings).await;
    for id in ["a", "b"] {
        assert_eq!(
            gateway.post("/run-async", &async_task(id)).await.status(),
            StatusCode::ACCEPTED
        );
    }
    let refused = gateway.post("/run-async", &async_task("c")).await;
    assert!(
        refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0
    );
    problem(refused, 429, "queue-full").await;
    problem(gateway.get("/tasks/c").await, 404, "task-not-found").await;
    let status: Value = gateway.get("/tasks/status").await.json().await.unwrap();
    assert_eq!(
        (&status["active"], &status["max"], &status["waiting"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(status["tasks"][0]["type"], json!("async"));
    let cancelled: Value = gateway
        .post("/cancel/b", &json!({}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        cancelled,
        json!({ "message": "Task cancelled successfully", "taskId": "b", "status": "cancelled" })
    );
    assert_eq!(
        gateway.over(&"b".parse().unwrap()).await.status,
        Status::Cancelled
    );
    gateway.post("/cancel/a", &json!({})).await;
    gateway.over(&"a".parse().unwrap()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_restarted_gateway_finds_the_job_of_the_one_before() {
    let gateway = Gateway::start(HANGS, &[]).await;
    gateway.post("/run-async", &async_task("t1")).await;
    let id: TaskId = "t1".parse().unwrap();
    let mut hints = gateway.app.tasks.bucket().watch(&names::session(&id));
    while gateway
        .app
        .tasks
        .get(&id)
        .await
        .unwrap()
        .unwrap()
        .execution_name
        .is_none()
    {
        hints.changed(std::time::Duration::from_millis(200)).await;
    }
    let directory = gateway.stop().await;
    let gateway = Gateway::start_in(directory, DIES, &[]).await;
    let status: Value = gateway.get("/tasks/status").await.json().await.unwrap();
    assert_eq!(
        (&status["active"], &status["running"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        gateway.post("/cancel/t1", &json!({})).await.status(),
        StatusCode::OK
    );
    let record = gateway.over(&id).await;
    assert_eq!((record.status, record.attempt), (Status::Cancelled, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn followers_of_a_gateway_that_stops_are_told_and_its_tasks_run_on() {
    let gateway = Gateway::start(HANGS, &[("GATEHOUSE__SERVER__DISCONNECT_GRACE", "0s")]).await;
    let mut answer = gateway.post("/run", &task()).await;
    answer.chunk().await.unwrap();
    let id: TaskId = answer.headers()["x-task-id"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    gateway.shutdown.cancel();
    let rest = answer.text().await.unwrap();
    assert!(
        rest.contains(": the gateway restarts") && !rest.contains("event: done"),
        "{rest}"
    );
    let directory = gateway.stop().await;
    // The next gateway gives it the grace, which is none here, and ends it.
    let gateway = Gateway::start_in(
        directory,
        DIES,
        &[("GATEHOUSE__SERVER__DISCONNECT_GRACE", "0s")],
    )
    .await;
    assert_eq!(gateway.over(&id).await.cancel.unwrap().by, "disconnect");
    gateway.stop().await;
}

#[tokio::test]
async fn where_keys_are_set_only_health_is_open() {
    let gateway = Gateway::start(
        DIES,
        &[(
            "GATEHOUSE_API_KEYS",
            "first-api-key-for-tests,second-api-key-for-tests",
        )],
    )
    .await;
    for path in ["/", "/health", "/healthz", "/ready"] {
        assert_eq!(gateway.get(path).await.status(), StatusCode::OK, "{path}");
    }
    for path in [
        "/tasks",
        "/tasks/status",
        "/tasks/t1",
        "/plugins",
        "/nowhere",
    ] {
        let refused = gateway.get(path).await;
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        problem(refused, 401, "unauthorized").await;
    }
    let request = gateway
        .request(Method::POST, "/run-async")
        .json(&async_task("t1"));
    let accepted = request
        .bearer_auth("second-api-key-for-tests")
        .send()
        .await
        .unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let record = gateway.over(&"t1".parse().unwrap()).await;
    assert!(
        record.caller.starts_with("key-") && record.caller.len() == 12,
        "{}",
        record.caller
    );
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_plugin_set_no_task_is_taken() {
    let gateway =
        Gateway::start(DIES, &[("GATEHOUSE_PLUGINS", "/nonexistent/manifest.toml")]).await;
    problem(
        gateway.post("/run", &task()).await,
        503,
        "plugins-not-ready",
    )
    .await;
    assert_eq!(
        gateway.get("/ready").await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(gateway.get("/health").await.status(), StatusCode::OK);
    let health: Value = gateway
        .get("/health?verbose=true")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(health["status"], json!("degraded"));
    assert!(health["plugins"]["error"].is_string());
    gateway.stop().await;
}
