//! Every deadline and bound, tripped. Where the real CLI cannot be made to misbehave on demand, the
//! program `misbehaving-cli` stands in for it: it passes the canary like the real one and then does
//! what the prompt says.

use gatehouse_tests::{Gateway, binary};
use serde_json::{Value, json};

fn misbehaving_cli() -> String {
    binary()
        .with_file_name("misbehaving-cli")
        .display()
        .to_string()
}

async fn ends(gateway: &Gateway, request: Value) -> (Value, Vec<gatehouse_tests::Event>) {
    let events = gateway.run(&request).await.rest().await;
    let report = events.last().expect("an end").json();
    gateway.is_clean().await;
    (report, events)
}

#[tokio::test]
async fn the_turns_of_a_request_are_a_limit() {
    let gateway = Gateway::with().scenario("endless-turns").start().await;
    let more = json!({"maxTurns": 2, "permissionMode": "bypassPermissions"});
    let (report, _) = ends(&gateway, gateway.request_with("go on for ever", more)).await;
    assert_eq!(
        (&report["status"], &report["reason"], &report["exitCode"]),
        (&json!("failed"), &json!("max_turns"), &json!(1))
    );
}

#[tokio::test]
async fn an_api_that_refuses_is_told_apart_from_an_agent_that_fails() {
    let gateway = Gateway::with().scenario("api-error").start().await;
    let (report, _) = ends(&gateway, gateway.request("hello")).await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("api_error")),
        "{report:#}"
    );
}

#[tokio::test]
async fn an_api_that_is_overloaded_for_a_moment_fails_nothing() {
    let gateway = Gateway::with().scenario("overloaded-then-ok").start().await;
    let (report, _) = ends(&gateway, gateway.request("hello")).await;
    assert_eq!(report["status"], "completed", "{report:#}");
}

#[tokio::test]
async fn silence_is_a_stall() {
    let gateway = Gateway::with()
        .scenario("hang")
        .env("GATEHOUSE__AGENT__DECISION_TIMEOUT", "1s")
        .env("GATEHOUSE__AGENT__IDLE_TIMEOUT", "2s")
        .start()
        .await;
    let (report, events) = ends(&gateway, gateway.request("hang")).await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("stalled")),
        "{report:#}"
    );
    assert!(events.iter().any(|event| event.name == "error"));
}

#[tokio::test]
async fn no_first_event_is_a_stall() {
    let gateway = Gateway::with()
        .env("GATEHOUSE_CLAUDE_BIN", &misbehaving_cli())
        .env("GATEHOUSE__AGENT__FIRST_EVENT_TIMEOUT", "1s")
        .start()
        .await;
    let (report, _) = ends(&gateway, gateway.request("say nothing")).await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("stalled")),
        "{report:#}"
    );
}

#[tokio::test]
async fn an_agent_that_stays_after_its_result_is_killed_and_its_result_counts_for_nothing() {
    let gateway = Gateway::with()
        .env("GATEHOUSE_CLAUDE_BIN", &misbehaving_cli())
        .env("GATEHOUSE__AGENT__AFTER_RESULT_TIMEOUT", "500ms")
        .env("GATEHOUSE__AGENT__TERM_GRACE", "300ms")
        .start()
        .await;
    let (report, _) = ends(
        &gateway,
        gateway.request("stay after the result and ignore TERM"),
    )
    .await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("stalled")),
        "{report:#}"
    );
}

#[tokio::test]
async fn an_agent_that_ends_without_a_result_has_failed_even_with_exit_code_0() {
    let gateway = Gateway::with()
        .env("GATEHOUSE_CLAUDE_BIN", &misbehaving_cli())
        .start()
        .await;
    let (report, _) = ends(&gateway, gateway.request("exit without a result")).await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("agent_error")),
        "{report:#}"
    );
}

#[tokio::test]
async fn a_line_of_100_mib_leaves_a_marker_and_bounded_memory() {
    let gateway = Gateway::with()
        .env("GATEHOUSE_CLAUDE_BIN", &misbehaving_cli())
        .env("GATEHOUSE__AGENT__MAX_LINE", "1MiB")
        .start()
        .await;
    let request = gateway.request("write a line of 100 MiB");
    let mut stream = gateway.run(&request).await;
    let marker = stream
        .until(|event| event.data.contains("\"truncated\""))
        .await
        .json();
    assert_eq!(
        (&marker["type"], &marker["bytes"]),
        (&json!("truncated"), &json!(100 << 20))
    );
    // The peak of the job, while it still runs: the stand-in waits until it is told to end.
    let job = gateway.process_named("run-job").await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", job.pid)).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap()
        .trim();
    let peak: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(
        peak < 300 * 1024,
        "the job held {peak} KiB for a line it had to cut at 1 MiB"
    );
    gateway
        .post(&format!("/cancel/{}", stream.task_id), &json!({}))
        .await;
    stream.until(|event| event.name == "done").await;
    gateway.is_clean().await;
}

#[tokio::test]
async fn what_is_no_json_comes_as_text_and_broken_bytes_break_nothing() {
    let gateway = Gateway::with()
        .env("GATEHOUSE_CLAUDE_BIN", &misbehaving_cli())
        .start()
        .await;
    let (report, events) = ends(&gateway, gateway.request("write odd lines")).await;
    assert_eq!(report["status"], "completed", "{report:#}");
    let texts: Vec<Value> = events
        .iter()
        .filter(|e| e.id.is_some())
        .map(|e| e.json())
        .filter(|l| l["type"] == "text")
        .collect();
    assert_eq!(texts[0], json!({"type": "text", "content": "plain words"}));
    assert!(texts.len() >= 2, "{texts:?}");
}

#[tokio::test]
async fn a_gate_that_is_not_asked_is_noticed_before_the_task_is_handed_over() {
    let gateway = Gateway::with()
        .env("GATEHOUSE_CLAUDE_BIN", &misbehaving_cli())
        .env("GATEHOUSE__TASK__MODEL", "skips-the-gate")
        .start()
        .await;
    let request = json!({"prompt": "say nothing", "anthropicApiKey": gateway.canaries.api_key});
    let (report, events) = ends(&gateway, request).await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("policy")),
        "{report:#}"
    );
    assert!(
        !events
            .iter()
            .any(|event| event.data.contains("say nothing"))
    );
}

#[tokio::test]
async fn a_command_before_the_agent_that_fails_ends_the_task_with_its_number_and_words() {
    let gateway = Gateway::with().start().await;
    let commands = json!({"preExecutionCommands": ["echo first > made-by-command", "echo it broke >&2; exit 3", "touch never"]});
    let (report, events) = ends(&gateway, gateway.request_with("hello", commands)).await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("setup"))
    );
    let error = report["error"].as_str().unwrap();
    assert!(
        error.contains("command 2") && error.contains("exit code 3") && error.contains("it broke"),
        "{error}"
    );
    assert!(
        events.iter().any(|event| event.data.contains("it broke")),
        "its output is in the log"
    );
    assert!(gateway.model_requests().is_empty());
}

#[tokio::test]
async fn a_command_that_takes_too_long_ends_the_task_with_its_number_and_its_tree() {
    let gateway = Gateway::with()
        .env("GATEHOUSE__JOB__PRE_COMMAND_TIMEOUT", "2s")
        .start()
        .await;
    let commands = json!({"preExecutionCommands": ["echo quick", "sleep 600 & sleep 600; true"]});
    let (report, _) = ends(&gateway, gateway.request_with("hello", commands)).await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("setup")),
        "{report:#}"
    );
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("command 2"), "{error}");
    assert!(gateway.model_requests().is_empty());
    gateway.is_clean().await;
}

#[tokio::test]
async fn files_of_the_agents_processes_are_bounded_in_number_and_size() {
    let gateway = Gateway::with()
        .env("GATEHOUSE__ISOLATION__MAX_OPEN_FILES", "200")
        .env("GATEHOUSE__ISOLATION__MAX_FILE_SIZE", "1MiB")
        .start()
        .await;
    let commands = json!({"preExecutionCommands": [
        "ulimit -n; ulimit -Hn; ulimit -c",
        "(head -c 3000000 /dev/zero > big) 2>/dev/null; stat -c %s big",
    ]});
    let (report, events) = ends(&gateway, gateway.request_with("hello", commands)).await;
    assert_eq!(report["status"], "completed", "{report:#}");
    let printed: Vec<String> = events
        .iter()
        .filter(|event| event.id.is_some())
        .map(gatehouse_tests::Event::json)
        .filter(|line| line["stream"] == "stdout")
        .map(|line| line["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(printed, ["200", "200", "0", "1048576"]);
}
