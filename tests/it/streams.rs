//! What a follower sees, whatever happens to the connection or the gateway.

use gatehouse_tests::{Event, Gateway};
use serde_json::{Value, json};

/// The numbered events of a stream: those that stand in the log.
fn numbered(events: &[Event]) -> Vec<Event> {
    events
        .iter()
        .filter(|event| event.id.is_some())
        .cloned()
        .collect()
}

fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().filter_map(|event| event.id).collect()
}

#[tokio::test]
async fn the_clis_lines_come_unchanged_with_ids_that_rise_by_one() {
    let gateway = Gateway::with().scenario("many-lines").start().await;

    let stream = gateway
        .run(&gateway.request_with("many lines", json!({"maxTurns": 50})))
        .await;
    let id = stream.task_id.clone();
    assert_eq!(stream.headers["cache-control"], "no-cache");
    assert_eq!(stream.headers["x-accel-buffering"], "no");
    let events = stream.rest().await;

    let first = &events[0];
    assert_eq!(first.name, "task");
    assert_eq!(first.json()["taskId"], id.as_str());
    assert!(
        first.json()["logsPath"]
            .as_str()
            .unwrap()
            .ends_with(&format!("sessions/{id}/"))
    );
    let lines = numbered(&events);
    assert_eq!(ids(&lines), (1..=lines.len() as u64).collect::<Vec<_>>());
    let types: Vec<String> = lines
        .iter()
        .map(|line| line.json()["type"].as_str().unwrap().to_owned())
        .collect();
    for expected in ["system", "assistant", "user", "result"] {
        assert!(
            types.iter().any(|kind| kind == expected),
            "no {expected} line in {types:?}"
        );
    }
    assert!(
        !types.iter().any(|kind| kind.starts_with("control_")),
        "the control protocol is not the caller's"
    );
    let done = events.last().unwrap();
    assert_eq!(
        (done.name.as_str(), &done.json()["status"]),
        ("done", &json!("completed"))
    );

    // The stored log is the same to the byte.
    let stored = gateway.stored_log(&id);
    let streamed: String = lines
        .iter()
        .map(|line| format!("{}\n", line.data))
        .collect();
    assert_eq!(stored.trim_end(), streamed.trim_end());
}

#[tokio::test]
async fn a_follower_that_drops_and_returns_misses_and_repeats_nothing() {
    let gateway = Gateway::with().scenario("slow").start().await;

    let mut stream = gateway
        .run(&gateway.request_with("slow", json!({"maxTurns": 50, "detach": true})))
        .await;
    let id = stream.task_id.clone();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(stream.until(|event| event.id.is_some()).await);
    }
    drop(stream);
    // Comes back several times, each time for a little.
    for _ in 0..3 {
        let mut again = gateway.events(&id, seen.last().unwrap().id.unwrap()).await;
        seen.push(again.until(|event| event.id.is_some()).await);
    }
    let rest = gateway
        .events(&id, seen.last().unwrap().id.unwrap())
        .await
        .rest()
        .await;
    assert_eq!(rest.last().unwrap().name, "done");
    seen.extend(numbered(&rest));

    let whole = numbered(&gateway.events(&id, 0).await.rest().await);
    assert_eq!(seen, whole);
}

#[tokio::test]
async fn the_stream_goes_on_where_it_was_after_the_gateway_was_killed() {
    let mut gateway = Gateway::with().scenario("slow").start().await;
    let mut stream = gateway
        .run(&gateway.request_with("slow", json!({"maxTurns": 50, "detach": true})))
        .await;
    let id = stream.task_id.clone();
    let mut seen = vec![
        stream
            .until(|event| event.json()["type"] == "assistant")
            .await,
    ];
    let before = seen[0].id.unwrap();

    gateway.kill().await;
    gateway.start_again().await;
    let rest = gateway.events(&id, before).await.rest().await;

    assert_eq!(rest.last().unwrap().json()["status"], "completed");
    seen.extend(numbered(&rest));
    let whole = numbered(&gateway.events(&id, before - 1).await.rest().await);
    assert_eq!(seen, whole);
    gateway.is_clean().await;
}

#[tokio::test]
async fn the_log_so_far_can_be_had_as_lines_of_json() {
    let gateway = Gateway::with().start().await;
    let stream = gateway.run(&gateway.request("hello")).await;
    let id = stream.task_id.clone();
    let lines = numbered(&stream.rest().await);

    let request = reqwest::Client::new()
        .get(format!("{}/tasks/{id}/events", gateway.url))
        .header("accept", "application/x-ndjson");
    let text = request.send().await.unwrap().text().await.unwrap();

    let expected: String = lines
        .iter()
        .map(|line| format!("{}\n", line.data))
        .collect();
    assert_eq!(text, expected);
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
}

#[tokio::test]
async fn a_task_whose_follower_vanishes_is_cancelled_unless_it_is_detached() {
    let gateway = Gateway::with()
        .scenario("hang")
        .env("GATEHOUSE__SERVER__DISCONNECT_GRACE", "300ms")
        .start()
        .await;

    let mut attached = gateway.run(&gateway.request("hang")).await;
    let mut detached = gateway
        .run(&gateway.request_with("hang", json!({"detach": true})))
        .await;
    attached.until(|event| event.id.is_some()).await;
    detached.until(|event| event.id.is_some()).await;
    let (gone, stays) = (attached.task_id.clone(), detached.task_id.clone());
    drop((attached, detached));

    let record = gateway.ended(&gone).await;
    assert_eq!(
        (&record["status"], &record["exitCode"]),
        (&json!("cancelled"), &json!(130))
    );
    assert_eq!(
        gateway.get(&format!("/tasks/{stays}")).await["status"],
        "running"
    );
    gateway.post(&format!("/cancel/{stays}"), &json!({})).await;
    gateway.ended(&stays).await;
    gateway.is_clean().await;
}
