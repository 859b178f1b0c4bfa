//! Whatever becomes of gateway, job, agent and time while a call waits, it runs only where somebody
//! allowed it, and its question is closed.

use std::time::{Duration, Instant};

use gatehouse_tests::Receiver;
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_call_that_nobody_decides_in_time_is_denied() {
    let gateway = asking(&asks())
        .env("GATEHOUSE__APPROVALS__TIMEOUT", "1s")
        .start()
        .await;
    let id = task(&gateway, json!({})).await;

    let told = told(gateway.events(&id, 0).await).await;

    assert!(told.contains("Nobody decided within 1 seconds"), "{told}");
    let record = gateway.ended(&id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
    let asked = &approvals(&gateway, &id).await[0];
    assert_eq!(
        (&asked["state"], &asked["answer"]["by"]),
        (&json!("expired"), &json!("gatehouse"))
    );
    let (status, answer) = decide(&gateway, &path(&id, asked), json!({"decision": "allow"})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("task-over")));
}

#[tokio::test]
async fn a_gateway_that_was_killed_meanwhile_takes_the_answer_when_it_is_back() {
    let receiver = Receiver::start([]).await;
    let mut gateway = asking(&asks()).start().await;
    let id = task(&gateway, json!({"callbackUrl": receiver.url})).await;
    parked(&gateway, &id).await;

    gateway.kill().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.start_again().await;
    decided(&gateway, &id, json!({"decision": "allow"})).await;

    let record = gateway.ended(&id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(told(gateway.events(&id, 0).await).await, RAN);
    gateway.is_clean().await;
}

#[tokio::test]
async fn a_task_that_is_cancelled_while_its_call_waits_ends_at_once() {
    let gateway = asking(&asks()).start().await;
    let id = task(&gateway, json!({})).await;
    let asked = parked(&gateway, &id).await;

    let since = Instant::now();
    gateway.post(&format!("/cancel/{id}"), &json!({})).await;
    let record = gateway.ended(&id).await;

    assert_eq!(record["status"], "cancelled", "{record:#}");
    assert!(since.elapsed() < Duration::from_secs(15));
    let closed = &approvals(&gateway, &id).await[0];
    assert_eq!(
        (&closed["call"], &closed["state"]),
        (&asked["call"], &json!("expired"))
    );
    let events = gateway.events(&id, 0).await.rest().await;
    assert_eq!(ours(&events, &["approval_decided"])[0]["state"], "expired");
    assert!(
        !events
            .iter()
            .any(|event| event.data.contains("is_error\":false"))
    );
    gateway.is_clean().await;
}

#[tokio::test]
async fn the_time_of_a_task_runs_on_while_its_call_waits() {
    let gateway = asking(&asks()).start().await;
    let id = task(&gateway, json!({"timeoutMinutes": 1})).await;
    parked(&gateway, &id).await;

    let record = gateway.ended(&id).await;

    assert_eq!(
        (&record["status"], &record["reason"]),
        (&json!("failed"), &json!("timed_out"))
    );
    assert_eq!(approvals(&gateway, &id).await[0]["state"], "expired");
}

#[tokio::test]
async fn a_question_of_a_job_or_an_agent_that_was_killed_is_closed() {
    for (word, reason) in [("run-job", "lost"), ("--input-format", "killed")] {
        let gateway = asking(&asks()).start().await;
        let id = task(&gateway, json!({})).await;
        let asked = parked(&gateway, &id).await;

        let processes = gateway.processes().into_iter();
        processes
            .filter(|process| process.command.contains(word) && !process.is_guard())
            .for_each(|process| process.kill());

        let record = gateway.ended(&id).await;
        assert_eq!(record["reason"], reason, "{record:#}");
        assert_eq!(approvals(&gateway, &id).await[0]["state"], "expired");
        let answer = json!({"decision": "allow"});
        let (status, answer) = decide(&gateway, &path(&id, &asked), answer).await;
        assert_eq!((status, &answer["code"]), (409, &json!("task-over")));
        gateway.is_clean().await;
    }
}

#[tokio::test]
async fn a_question_of_a_job_that_is_paused_past_its_time_takes_no_answer() {
    let gateway = asking(&asks())
        .env("GATEHOUSE__APPROVALS__TIMEOUT", "3s")
        .start()
        .await;
    let id = task(&gateway, json!({})).await;
    let stream = gateway.events(&id, 0).await;
    let asked = parked(&gateway, &id).await;
    let job = gateway.process_named("run-job").await;
    job.pause();
    tokio::time::sleep(Duration::from_secs(4)).await;

    let (status, answer) = decide(&gateway, &path(&id, &asked), json!({"decision": "allow"})).await;
    job.resume();

    assert_eq!(
        (status, &answer["code"], &answer["state"]),
        (409, &json!("approval-decided"), &json!("expired"))
    );
    let told = told(stream).await;
    assert!(told.contains("Nobody decided within"), "{told}");
    gateway.ended(&id).await;
}
