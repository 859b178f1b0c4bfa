//! What a hostile agent, or a bad day, does to the job that runs it.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use gatehouse_tests::manifest::{Manifest, shipped};
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

    gateway.storage_fails(true);
    eventually("the agent is gone", || async {
        let mut processes = gateway.processes().into_iter();
        (!processes.any(|process| process.command.contains("--permission-prompt-tool")))
            .then_some(())
    })
    .await;
    // The job notes the phase that follows, in vain.
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.storage_fails(false);

    let record = gateway.ended(&id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
    gateway.is_clean().await;
}

#[tokio::test]
async fn a_decision_that_comes_too_late_is_a_denial_that_is_kept() {
    let loops = gatehouse_tests::manifest::guest("loops");
    let more = r#"limits = { time = "20s" }"#;
    let gateway = Gateway::with()
        .scenario("one-bash-call")
        .plugins(&Manifest::empty().plugin("loops", "tool-permission", loops, more))
        .env("GATEHOUSE__AGENT__DECISION_TIMEOUT", "1s")
        .start()
        .await;
    let more = json!({"permissionMode": "bypassPermissions"});
    let stream = gateway.run(&gateway.request_with("run it", more)).await;
    let id = stream.task_id.clone();

    let record = gateway.ended(&id).await;

    assert_eq!(record["agent"]["deniedCalls"], 1, "{record:#}");
    let decisions = gateway.decisions(&id).await;
    assert_eq!(decisions.len(), 1, "{decisions:#?}");
    assert_eq!(decisions[0]["verdict"], "deny");
    assert_eq!(decisions[0]["fault"], "timed-out");
}

#[tokio::test]
async fn what_an_agent_leaves_outside_its_workspace_goes_with_it_and_it_goes_first() {
    let gateway = Gateway::with().scenario("leaves-files").start().await;
    let level = gateway.get("/health?verbose=true").await["isolation"]["level"].clone();
    let more = json!({"permissionMode": "bypassPermissions"});

    let stream = gateway.run(&gateway.request_with("leave", more)).await;
    let events = stream.rest().await;

    let told = events
        .iter()
        .map(gatehouse_tests::Event::json)
        .find_map(|line| {
            line["tool_use_result"]["stdout"]
                .as_str()
                .map(str::to_owned)
        })
        .expect("the command ran");
    let left: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("left "))
        .collect();
    assert_eq!(left.len(), 3, "{told}");
    gateway.is_clean().await;
    // An agent without a user of its own cannot be told from whoever runs the gateway.
    if level == "uid" {
        assert!(told.contains("memory 1000"), "{told}");
        let found: Vec<_> = left
            .iter()
            .filter(|path| Path::new(path).exists())
            .collect();
        assert!(found.is_empty(), "{found:?}");
    }
    for path in left {
        let _ = std::fs::remove_dir_all(path);
    }
}

#[tokio::test]
async fn an_agent_gets_no_answer_from_the_gateways_own_api() {
    if !nix::unistd::Uid::effective().is_root() {
        // Without users of their own agents cannot be told from callers; the documents say so.
        return;
    }
    let gateway = Gateway::with().start().await;
    let status = format!("{}/tasks/status", gateway.url);
    let curl = |user: u32| {
        std::process::Command::new("setpriv")
            .args([
                format!("--reuid={user}"),
                format!("--regid={user}"),
                "--clear-groups".to_owned(),
            ])
            .args(["curl", "--silent", "--fail", "--max-time", "10", &status])
            .output()
            .unwrap()
    };

    let agents = gateway.first_agent_uid();
    assert!(
        !curl(agents).status.success(),
        "an agent read {:?}",
        curl(agents).stdout
    );
    assert!(
        curl(65534).status.success(),
        "callers of other users are answered"
    );
}

#[tokio::test]
async fn what_the_agent_left_running_changes_no_file_while_actions_read_it() {
    let write = "setsid sh -c 'while :; do echo more >> ticks.txt; done' >/dev/null 2>&1 & sleep 1";
    let upload = |name: &str, manifest: Manifest| {
        let grants = r#"grants = ["workspace", "artifacts"]"#;
        manifest.plugin(name, "post-execution", shipped("upload-files"), grants)
    };
    let manifest = Manifest::empty().guest("reports-outcome", "post-execution");
    let manifest = upload("later", upload("sooner", manifest));
    let gateway = Gateway::with()
        .plugins(&manifest)
        .turns(json!([
            {"tools": [{"name": "Bash", "input": {"command": write}}]},
            {"text": "done"},
        ]))
        .env("GATEHOUSE__JOB__MAX_ARTIFACT_SIZE", "1GiB")
        .start()
        .await;
    let upload = |prefix: &str| json!({"globPatterns": ["ticks.txt"], "gcsPrefix": prefix});
    let more = json!({
        "permissionMode": "bypassPermissions",
        "postExecutionActions": {"sooner": upload("sooner/"), "later": upload("later/")},
    });

    let (report, _) = gateway.ends(&gateway.request_with("write", more)).await;

    assert_eq!(report["status"], "completed", "{report:#}");
    let files = report["uploadedFiles"].as_array().unwrap();
    assert_eq!(files.len(), 2, "{report:#}");
    assert!(files[0]["sizeBytes"].as_u64().unwrap() > 0);
    assert_eq!(files[0]["sha256"], files[1]["sha256"], "{report:#}");
}
