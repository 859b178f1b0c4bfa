//! A denied call does not run, and what goes wrong in the gate is a denial.

use std::os::unix::fs::PermissionsExt;

use gatehouse_tests::Gateway;
use gatehouse_tests::manifest::Manifest;
use serde_json::{Value, json};

/// The scenario `forbidden-tools` tries each way to leave a mark: Bash, Write, a subagent, an MCP tool.
/// Every mark it would leave contains this word.
const MARK: &str = "gatehouse-mark";
/// Where they are left. Ours and open to everybody: what an agent leaves in `/tmp` itself is removed.
const OPEN: &str = "/tmp/gatehouse-tests";

fn marks(gateway: &Gateway) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![gateway.work(), OPEN.into()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if entry.file_name().to_string_lossy().contains(MARK) {
                found.push(path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && path.starts_with(gateway.work())
            {
                directories.push(path);
            }
        }
    }
    found
}

fn ran(events: &[gatehouse_tests::Event]) -> Vec<Value> {
    let results = events
        .iter()
        .filter(|event| event.id.is_some())
        .map(gatehouse_tests::Event::json);
    results
        .filter(|line| line["type"] == "user")
        .flat_map(|line| {
            line["message"]["content"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        })
        .filter(|block| block["type"] == "tool_result" && block["is_error"] != json!(true))
        .collect()
}

/// An MCP server that would leave a mark, by the shell alone: it answers initialize, tools/list and
/// tools/call line by line.
fn mcp_server() -> Value {
    let file = gatehouse_tests::repository().join("tests/mcp-server.sh");
    json!({"mcpServers": {"marker": {"command": "/bin/bash", "args": [file]}}})
}

/// Tries everything under `manifest` and sees that nothing ran and at least `denied` calls were denied.
async fn nothing_runs(manifest: &Manifest, mode: &str, more: Value, at_least: usize) {
    std::fs::create_dir_all(OPEN).unwrap();
    std::fs::set_permissions(OPEN, std::fs::Permissions::from_mode(0o777)).unwrap();
    let gateway = Gateway::with()
        .scenario("forbidden-tools")
        .plugins(manifest)
        .env("GATEHOUSE__APPROVALS__TIMEOUT", "500ms")
        .start()
        .await;
    let mut request = gateway.request_with(
        "try everything",
        json!({"permissionMode": mode, "maxTurns": 40, "mcpConfig": mcp_server()}),
    );
    request
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());

    let stream = gateway.run(&request).await;
    let id = stream.task_id.clone();
    let events = stream.rest().await;

    let report = events.last().unwrap().json();
    assert_eq!(
        marks(&gateway),
        Vec::<std::path::PathBuf>::new(),
        "a denied call ran in mode {mode}"
    );
    let decisions = gateway.decisions(&id).await;
    let denied = decisions.iter().filter(|decision| {
        decision["stage"] == "tool" && matches!(decision["verdict"].as_str(), Some("deny" | "ask"))
    });
    assert!(
        denied.count() >= at_least,
        "mode {mode}: {report:#}\n{decisions:#?}\n{}",
        gateway.log()
    );
    let ran: Vec<Value> = ran(&events)
        .into_iter()
        .filter(|result| result.to_string().contains(MARK))
        .collect();
    assert!(ran.is_empty(), "mode {mode}: {ran:#?}");
    gateway.is_clean().await;
}

#[tokio::test]
async fn a_denied_call_does_not_run_in_any_permission_mode() {
    let denies_all = Manifest::empty().guest("denies-all", "tool-permission");
    for mode in [
        "default",
        "acceptEdits",
        "plan",
        "dontAsk",
        "bypassPermissions",
    ] {
        nothing_runs(&denies_all, mode, json!({}), 4).await;
    }
}

#[tokio::test]
async fn allowed_tools_restrict_also_where_permissions_are_bypassed() {
    nothing_runs(
        &Manifest::shipped(),
        "bypassPermissions",
        json!({"allowedTools": ["Read", "Agent"]}),
        5,
    )
    .await;
}

#[tokio::test]
async fn disallowed_tools_hold_for_subagents_and_mcp_tools() {
    let disallowed = json!({"disallowedTools": ["Bash", "Write", "Edit", "mcp__marker"]});
    // The CLI takes whole tools that are disallowed away before they could be asked about.
    nothing_runs(&Manifest::shipped(), "bypassPermissions", disallowed, 0).await;
}

#[tokio::test]
async fn a_policy_that_cannot_answer_denies() {
    for guest in ["traps", "loops", "eats-memory", "huge-answer", "errs"] {
        let manifest = Manifest::empty().guest(guest, "tool-permission");
        nothing_runs(&manifest, "bypassPermissions", json!({}), 4).await;
    }
}

#[tokio::test]
async fn a_policy_that_asks_for_a_person_denies_where_none_answers() {
    nothing_runs(
        &Manifest::empty().guest("asks", "tool-permission"),
        "bypassPermissions",
        json!({}),
        4,
    )
    .await;
}

#[tokio::test]
async fn a_plugin_that_is_missing_at_the_start_lets_nothing_in() {
    let missing = Manifest::shipped().plugin(
        "gone",
        "tool-permission",
        "/nonexistent/gone.wasm".into(),
        "",
    );
    let gateway = Gateway::with().plugins(&missing).start().await;

    let response = gateway.post("/run", &gateway.request("hello")).await;

    assert_eq!(response.status(), 503);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], "plugins-not-ready");
    assert_eq!(gateway.try_get("/ready").await.unwrap().status(), 503);
    let plugins = gateway.get("/plugins").await;
    let states: Vec<(&str, &str)> = plugins["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| {
            (
                plugin["name"].as_str().unwrap(),
                plugin["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(states.contains(&("gone", "failed")), "{plugins:#}");
    assert!(
        states.contains(&("tool-rules", "loaded")),
        "one broken plugin must not hide the others: {plugins:#}"
    );
    assert!(gateway.model_requests().is_empty());
}

#[tokio::test]
async fn a_rewritten_call_runs_as_rewritten() {
    let manifest = Manifest::empty().plugin(
        "rewrites",
        "tool-permission",
        gatehouse_tests::manifest::guest("rewrites"),
        r#"settings = { Bash = { command = "echo rewritten-by-policy" } }"#,
    );
    let gateway = Gateway::with()
        .scenario("one-bash-call")
        .plugins(&manifest)
        .start()
        .await;

    let stream = gateway
        .run(&gateway.request_with("run it", json!({"permissionMode": "bypassPermissions"})))
        .await;
    let events = stream.rest().await;

    let results = ran(&events);
    assert!(
        results
            .iter()
            .any(|result| result.to_string().contains("rewritten-by-policy")),
        "{results:#?}"
    );
    assert!(
        !results
            .iter()
            .any(|result| result.to_string().contains("as the agent asked")),
        "{results:#?}"
    );
}

#[tokio::test]
async fn a_plugin_counts_calls_over_a_whole_task() {
    let manifest = Manifest::empty().plugin(
        "counts",
        "tool-permission",
        gatehouse_tests::manifest::guest("counts"),
        "settings = { max = 2 }",
    );
    let gateway = Gateway::with()
        .scenario("five-bash-calls")
        .plugins(&manifest)
        .start()
        .await;

    let more = json!({"permissionMode": "bypassPermissions", "maxTurns": 20});
    let stream = gateway
        .run(&gateway.request_with("call five times", more))
        .await;
    let id = stream.task_id.clone();
    stream.rest().await;

    let verdicts: Vec<String> = gateway
        .decisions(&id)
        .await
        .iter()
        .map(|d| d["verdict"].to_string())
        .collect();
    let denied = verdicts
        .iter()
        .filter(|verdict| verdict.contains("deny"))
        .count();
    assert_eq!((verdicts.len(), denied), (5, 3), "{verdicts:?}");
}
