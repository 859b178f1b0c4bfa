//! MCP servers of a request: started before the task, told of where they fail, filled in from its secrets.

use std::time::Instant;

use gatehouse_tests::{Gateway, repository};
use serde_json::{Value, json};

fn server() -> Value {
    json!({"command": "/bin/bash", "args": [repository().join("tests/mcp-server.sh")]})
}

fn lines(events: &[gatehouse_tests::Event], word: &str) -> Vec<Value> {
    events
        .iter()
        .filter(|event| event.id.is_some())
        .map(gatehouse_tests::Event::json)
        .filter(|line| line["event"] == word)
        .collect()
}

#[tokio::test]
async fn the_task_waits_for_slow_servers_and_tells_of_broken_ones() {
    let gateway = Gateway::with().start().await;
    let script = repository().join("tests/mcp-server.sh");
    let slow = json!({"command": "/bin/bash", "args": ["-c", format!("sleep 2; exec /bin/bash {}", script.display())]});
    let config = json!({"mcpServers": {"slow": slow, "broken": {"command": "/bin/false"}, "gone": {"command": "/nonexistent"}}});

    let (report, events) = gateway
        .ends(&gateway.request_with(
            "go",
            json!({"mcpConfig": config, "requiredMcpServers": ["slow"]}),
        ))
        .await;

    assert_eq!(report["status"], "completed", "{report:#}");
    let tools = gateway.model_requests()[0].body["tools"].to_string();
    let deferred = gateway.model_requests()[0].body["messages"].to_string();
    assert!(
        tools.contains("mcp__slow__") || deferred.contains("mcp__slow__"),
        "the slow server's tools are missing"
    );
    let failed: Vec<Value> = lines(&events, "mcp_failed")
        .iter()
        .map(|line| line["server"].clone())
        .collect();
    assert_eq!(failed, [json!("broken"), json!("gone")]);
}

#[tokio::test]
async fn a_required_server_that_fails_ends_the_task_before_it_begins() {
    let gateway = Gateway::with().start().await;
    let config = json!({"mcpServers": {"ours": server(), "broken": {"command": "/bin/false"}}});
    let (report, events) = gateway
        .ends(&gateway.request_with(
            "go",
            json!({"mcpConfig": config, "requiredMcpServers": ["broken"]}),
        ))
        .await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("setup"))
    );
    assert!(
        report["error"].as_str().unwrap().contains("broken"),
        "{report:#}"
    );
    assert_eq!(lines(&events, "mcp_failed").len(), 1);
    assert!(gateway.model_requests().is_empty());
}

#[tokio::test]
async fn a_server_that_never_answers_has_failed_after_its_time() {
    let gateway = Gateway::with()
        .env("GATEHOUSE__AGENT__MCP_START_TIMEOUT", "2s")
        .start()
        .await;
    let config = json!({"mcpServers": {"mute": {"command": "/bin/sleep", "args": ["600"]}}});
    let started = Instant::now();
    let (report, events) = gateway
        .ends(&gateway.request_with("go", json!({"mcpConfig": config})))
        .await;
    assert_eq!(report["status"], "completed", "{report:#}");
    assert_eq!(lines(&events, "mcp_failed")[0]["server"], "mute");
    assert!(
        started.elapsed().as_secs() < 25,
        "it waited as long as by default"
    );
}

#[tokio::test]
async fn a_required_server_that_is_not_configured_is_refused() {
    let gateway = Gateway::with().start().await;
    for more in [
        json!({"requiredMcpServers": ["gone"]}),
        json!({"requiredMcpServers": ["gone"], "mcpConfig": {"mcpServers": {"ours": server()}}}),
    ] {
        let refusal = gateway.refused(&gateway.request_with("go", more)).await;
        assert_eq!(
            (&refusal["status"], &refusal["field"]),
            (&json!(400), &json!("requiredMcpServers[0]"))
        );
    }
}

#[tokio::test]
async fn texts_are_filled_in_from_the_secrets_and_what_is_undefined_is_told() {
    let gateway = Gateway::with()
        .turns(json!([
            {"tools": [{"name": "Bash", "input": {"command": "cat \"$HOME/seen\""}}]},
            {"text": "seen: {{last_tool_result}}"},
        ]))
        .start()
        .await;
    let note = "printf '%s|' \"$0\" \"$1\" \"$2\" \"$FROM_ENV\" > \"$HOME/seen\"; exit 1";
    let config = json!({"mcpServers": {"notes": {
        "command": "/bin/sh", "args": ["-c", note, "${WORD}", "${UNKNOWN:-fallback}", "${UNDEFINED}"],
        "env": {"FROM_ENV": "x${WORD}", "TOKEN": gateway.canaries.environment_secret},
    }}});
    let more = json!({
        "mcpConfig": config, "environmentSecrets": {"WORD": "abc"}, "permissionMode": "bypassPermissions",
    });
    let (report, _) = gateway.ends(&gateway.request_with("go", more)).await;
    let result = report["result"].as_str().unwrap();
    assert!(
        result.contains("abc|fallback|${UNDEFINED}|xabc|"),
        "{result}"
    );
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("${UNDEFINED}") && !warnings.contains("UNKNOWN"),
        "{warnings}"
    );
}

#[tokio::test]
async fn what_a_server_is_given_as_its_credential_is_never_seen() {
    let gateway = Gateway::with()
        .turns(json!([
            {"tools": [{"name": "Bash", "input": {"command": "cat \"$HOME/mcp.json\""}}]},
            {"text": "seen: {{last_tool_result}}"},
        ]))
        .start()
        .await;
    let secret = &gateway.canaries.environment_secret;
    let config = json!({"mcpServers": {
        "a": {"command": "/bin/false", "env": {"TOKEN": secret}},
        "b": {"type": "http", "url": "http://127.0.0.1:9/", "headers": {"Authorization": format!("Bearer {secret}")}},
    }});
    let more = json!({"mcpConfig": config, "permissionMode": "bypassPermissions"});
    let (report, events) = gateway.ends(&gateway.request_with("go", more)).await;
    assert!(
        report["result"].as_str().unwrap().contains("[REDACTED]"),
        "{report:#}"
    );
    let all: String = events.iter().map(|event| event.data.as_str()).collect();
    assert!(gateway.canaries.found_in(all.as_bytes()).is_empty());
    gateway.has_leaked_nothing();
}
