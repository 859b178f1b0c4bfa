//! Parameters that reach the model or the CLI: each is seen there, and not when it is left out.

use std::time::Instant;

use gatehouse_tests::{Gateway, words_of};
use serde_json::{Value, json};

fn bash(command: &str) -> Value {
    json!({"tools": [{"name": "Bash", "input": {"command": command}}]})
}

#[tokio::test]
async fn model_and_system_prompts_reach_the_model() {
    let gateway = Gateway::with().start().await;
    let mut request = gateway.request_with(
        "go",
        json!({"systemPrompt": "CALLERS-OWN", "appendSystemPrompt": "CALLERS-MORE"}),
    );
    request["model"] = "claude-haiku-4-5".into();
    gateway.ends(&request).await;

    let sent = gateway.model_requests();
    assert_eq!(sent[0].body["model"], "claude-haiku-4-5");
    let told = words_of(&sent[0].body);
    assert!(
        told.contains("CALLERS-OWN") && told.contains("CALLERS-MORE"),
        "{told}"
    );
    assert!(told.find("CALLERS-OWN") < told.find("CALLERS-MORE"));

    gateway.ends(&gateway.request("go")).await;
    let plain = &gateway.model_requests()[sent.len()].body;
    assert_eq!(plain["model"], "claude-sonnet-5-5");
    assert!(!words_of(plain).contains("CALLERS"));
}

#[tokio::test]
async fn the_fallback_model_is_asked_while_the_model_is_overloaded() {
    let overloaded = json!({"status": 529, "type": "overloaded_error", "message": "Overloaded"});
    let gateway = Gateway::with()
        .turns(json!([{"error": overloaded, "times": 3, "text": "done"}]))
        .start()
        .await;
    let more = json!({"fallbackModel": "claude-haiku-4-5"});
    let (report, _) = gateway.ends(&gateway.request_with("go", more)).await;
    assert_eq!(report["status"], "completed", "{report:#}");
    let models: Vec<Value> = gateway
        .model_requests()
        .iter()
        .map(|request| request.body["model"].clone())
        .collect();
    assert_eq!(models.first(), Some(&json!("claude-sonnet-5-5")));
    assert_eq!(
        models.last(),
        Some(&json!("claude-haiku-4-5")),
        "{models:?}"
    );
}

#[tokio::test]
async fn the_permission_mode_decides_where_no_rule_speaks() {
    for (mode, made) in [("default", false), ("bypassPermissions", true)] {
        let gateway = Gateway::with()
            .turns(json!([bash("touch made"), bash("ls"), {"text": "{{last_tool_result}}"}]))
            .start()
            .await;
        let (report, _) = gateway
            .ends(&gateway.request_with("go", json!({"permissionMode": mode})))
            .await;
        assert_eq!(
            report["result"].as_str().unwrap().contains("made"),
            made,
            "{mode}"
        );
    }
}

#[tokio::test]
async fn the_timeout_of_a_request_ends_it() {
    let gateway = Gateway::with().scenario("hang").start().await;
    let started = Instant::now();
    let (report, _) = gateway
        .ends(&gateway.request_with("hang", json!({"timeoutMinutes": 1})))
        .await;
    assert_eq!(
        (&report["status"], &report["reason"], &report["exitCode"]),
        (&json!("failed"), &json!("timed_out"), &json!(124)),
        "{report:#}"
    );
    assert!(started.elapsed().as_secs() >= 59);
}

/// The CLI takes a model that it does not know for a cheap one.
#[tokio::test]
async fn the_broker_stops_what_is_over_budget_even_if_the_cli_believes_otherwise() {
    let usage = json!({"input_tokens": 1000, "output_tokens": 1000});
    let mut turn = bash("echo on");
    turn["usage"] = usage;
    let gateway = Gateway::with()
        .script(json!({"conversations": [{"prompt": "", "repeat": true, "turns": [turn]}]}))
        .start()
        .await;
    let more = json!({
        "model": "claude-unknown-9", "maxBudgetUsd": 0.17, "maxTurns": 20, "permissionMode": "bypassPermissions",
    });
    let (report, _) = gateway.ends(&gateway.request_with("go on", more)).await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("budget")),
        "{report:#}"
    );
    assert!(
        report["error"].as_str().unwrap().contains("0.17"),
        "{report:#}"
    );
    // Each answer costs 0.09 dollars at the dearest prices.
    assert_eq!(gateway.model_requests().len(), 2);
    assert_eq!(report["usage"]["requests"], 2, "{report:#}");
}

#[tokio::test]
async fn what_subagents_spend_counts() {
    let usage = json!({"input_tokens": 1000, "output_tokens": 1000});
    let call = json!({
        "tools": [{"name": "Agent", "input": {"subagent_type": "helper", "prompt": "help", "description": "h"}}],
    });
    let gateway = Gateway::with()
        .script(json!({"conversations": [
            {"prompt": "", "system": "HELPER", "turns": [{"text": "helped", "usage": usage}]},
            {"prompt": "", "turns": [call, {"text": "done"}]},
        ]}))
        .start()
        .await;
    let more = json!({
        // An answer of the subagent costs 0.018 dollars.
        "maxBudgetUsd": 0.017, "maxTurns": 20,
        "subagents": {"helper": {
            "frontmatter": {"description": "Helps.", "model": "claude-sonnet-4-5"}, "content": "HELPER",
        }},
    });
    let mut request = gateway.request_with("go", more);
    request["model"] = "claude-haiku-5-5".into();
    let (report, _) = gateway.ends(&request).await;
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &json!("budget")),
        "{report:#}"
    );
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["count"], "additionalProperties": false,
        "properties": {"count": {"type": "integer", "minimum": 1}},
    })
}

#[tokio::test]
async fn an_answer_of_the_schema_stands_in_report_and_record() {
    let gateway = Gateway::with()
        .turns(json!([
            {"tools": [{"name": "StructuredOutput", "input": {"count": 3}}]},
            {"text": "done"},
        ]))
        .start()
        .await;
    let stream = gateway
        .run(&gateway.request_with("count", json!({"outputSchema": schema()})))
        .await;
    let id = stream.task_id.clone();
    let events = stream.rest().await;
    let report = events.last().unwrap().json();
    assert_eq!(report["status"], "completed", "{report:#}");
    assert_eq!(report["structuredOutput"], json!({"count": 3}));
    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(record["agent"]["structuredOutput"], json!({"count": 3}));
}

#[tokio::test]
async fn no_answer_of_the_schema_is_a_failure_that_says_so() {
    let wrong = json!({"tools": [{"name": "StructuredOutput", "input": {"count": 0}}]});
    for (turns, words) in [
        (
            json!([{"text": "three"}, {"text": "three"}, {"text": "three"}]),
            "without an answer",
        ),
        (
            json!([wrong, wrong, wrong, wrong, wrong, wrong, wrong]),
            "did not manage",
        ),
    ] {
        let gateway = Gateway::with().turns(turns).start().await;
        let more = json!({"outputSchema": schema(), "maxTurns": 20});
        let (report, _) = gateway.ends(&gateway.request_with("count", more)).await;
        assert_eq!(
            (&report["status"], &report["reason"]),
            (&json!("failed"), &json!("agent_error")),
            "{report:#}"
        );
        assert!(
            report["error"].as_str().unwrap().contains(words),
            "{report:#}"
        );
        assert_eq!(report.get("structuredOutput"), None);
    }
}

#[tokio::test]
async fn the_operators_system_prompts_are_the_default_and_change_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("own"), "OPERATORS-FIRST").unwrap();
    std::fs::write(path("more"), "OPERATORS-MORE").unwrap();
    let gateway = Gateway::with()
        .env(
            "GATEHOUSE__TASK__SYSTEM_PROMPT_FILE",
            path("own").to_str().unwrap(),
        )
        .env(
            "GATEHOUSE__TASK__APPEND_SYSTEM_PROMPT_FILE",
            path("more").to_str().unwrap(),
        )
        .start()
        .await;
    let record_of = async |request: Value| {
        let before = gateway.model_requests().len();
        let stream = gateway.run(&request).await;
        let id = stream.task_id.clone();
        stream.rest().await;
        let told = words_of(&gateway.model_requests()[before].body);
        (gateway.get(&format!("/tasks/{id}")).await, told)
    };

    let (first, told) = record_of(gateway.request("go")).await;
    assert!(
        told.contains("OPERATORS-FIRST") && told.contains("OPERATORS-MORE"),
        "{told}"
    );
    let version = |text: &str| {
        use sha2::Digest as _;
        hex::encode(sha2::Sha256::digest(text))[..12].to_owned()
    };
    assert_eq!(first["systemPromptVersion"], version("OPERATORS-FIRST"));
    assert_eq!(
        first["appendSystemPromptVersion"],
        version("OPERATORS-MORE")
    );

    std::fs::write(path("own"), "OPERATORS-SECOND").unwrap();
    let (second, told) = record_of(gateway.request("go")).await;
    assert!(
        told.contains("OPERATORS-SECOND") && !told.contains("OPERATORS-FIRST"),
        "{told}"
    );
    assert_eq!(second["systemPromptVersion"], version("OPERATORS-SECOND"));

    let callers = gateway.request_with("go", json!({"systemPrompt": "CALLERS-OWN"}));
    let (third, told) = record_of(callers.clone()).await;
    assert!(
        told.contains("CALLERS-OWN")
            && !told.contains("OPERATORS-SECOND")
            && told.contains("OPERATORS-MORE")
    );
    assert_eq!(third.get("systemPromptVersion"), None);

    // Rather no task than one without the operator's rules.
    for content in [None, Some("x".repeat(100_001)), Some(" ".to_owned())] {
        std::fs::remove_file(path("own")).ok();
        if let Some(content) = content {
            std::fs::write(path("own"), content).unwrap();
        }
        let refusal = gateway.refused(&gateway.request("go")).await;
        assert_eq!(
            (&refusal["status"], &refusal["code"]),
            (&json!(503), &json!("system-prompt-unavailable"))
        );
    }
    record_of(callers).await;
}
