//! What a hostile agent tries against the job that runs it.

use std::fs::OpenOptions;

use gatehouse_tests::Gateway;
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
