//! What a hostile agent, or a bad day, does to the job that runs it.

use std::fs::OpenOptions;
use std::time::Duration;

use gatehouse_tests::{Gateway, eventually};
use serde_json::json;

/// An agent can hand an end of its pipes to a process that is not of its tree; the test is that process.
#[tokio::test]
async fn a_pipe_that_somebody_else_keeps_open_does_not_keep_the_task_from_ending() {
    let gateway = Gateway::with().scenario("slow").start().await;
    let more = json!({"maxTurns": 50, "permissionMode": "bypassPermissions"});
    let mut stream = gateway.run(&gateway.request_with("slow", more)).await;
    let id = stream.task_id.clone();
    stream
        .until(|event| event.data.contains("Slow step 1."))
        .await;

    let agent = gateway.process_named("--permission-prompt-tool").await;
    let held = OpenOptions::new()
        .write(true)
        .open(format!("/proc/{}/fd/2", agent.pid))
        .unwrap();
    agent.kill();

    let record = gateway.ended(&id).await;
    assert_eq!(record["reason"], "killed", "{record:#}");
    drop(held);
    gateway.is_clean().await;
}

#[tokio::test]
async fn a_storage_that_fails_for_a_while_loses_no_result() {
    let gateway = Gateway::with().scenario("slow").start().await;
    let more = json!({"maxTurns": 50, "permissionMode": "bypassPermissions"});
    let mut stream = gateway.run(&gateway.request_with("slow", more)).await;
    let id = stream.task_id.clone();
    stream
        .until(|event| event.data.contains("Slow step 13."))
        .await;

    // Every write goes through this directory.
    let temporary = gateway.data().join("bucket/.temp");
    let aside = gateway.data().join("bucket/.aside");
    std::fs::rename(&temporary, &aside).unwrap();
    std::fs::write(&temporary, "no directory").unwrap();
    eventually("the agent is gone", || async {
        let mut processes = gateway.processes().into_iter();
        (!processes.any(|process| process.command.contains("--permission-prompt-tool")))
            .then_some(())
    })
    .await;
    // The job notes the phase that follows, in vain.
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::remove_file(&temporary).unwrap();
    std::fs::rename(&aside, &temporary).unwrap();

    let record = gateway.ended(&id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
    gateway.is_clean().await;
}
