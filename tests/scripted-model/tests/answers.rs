//! The scripted model over its socket, and the scenarios that come with the examples.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};

use scripted_model::{Options, Scenarios, ScriptedModel};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn model(turns: Value) -> ScriptedModel {
    let file = json!({"conversations": [{"prompt": "go", "turns": turns}]});
    ScriptedModel::start(Scenarios::from_json(file).unwrap())
        .await
        .unwrap()
}

/// Everything that is answered to a POST, as it stands on the wire.
async fn post(model: &ScriptedModel, path: &str, header: &str, body: &Value) -> String {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}content-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(model.url().strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A cut shows as the end of the connection.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn ask(model: &ScriptedModel, body: &Value) -> String {
    post(model, "/v1/messages?beta=true", "x-api-key: k\r\n", body).await
}

fn body_of(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A conversation in which the given results were sent back, one per turn.
fn conversation(results: &[(&str, bool)]) -> Value {
    let mut messages =
        vec![json!({"role": "user", "content": [{"type": "text", "text": "please go"}]})];
    for (text, is_error) in results {
        let call = json!({"type": "tool_use", "id": "t", "name": "Bash", "input": {}});
        let result = json!({"type": "tool_result", "tool_use_id": "t", "content": text, "is_error": is_error});
        messages.push(json!({"role": "assistant", "content": [call]}));
        messages.push(json!({"role": "user", "content": [result]}));
    }
    json!({"model": "claude-x", "max_tokens": 100, "messages": messages})
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_real_api_in_their_order() {
    let turns = json!([{"text": "Hello.", "tools": [{"name": "Bash", "input": {"command": "echo a long enough command"}}]}]);
    let model = model(turns).await;
    let mut request = conversation(&[]);
    request["stream"] = json!(true);
    let answer = ask(&model, &request).await;
    assert!(answer.contains("content-type: text/event-stream"));
    assert!(answer.contains("server: scripted-model"));
    let events: Vec<Value> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let mut kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    kinds.dedup();
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(kinds, expected);
    let pieces: Vec<&str> = events
        .iter()
        .filter_map(|event| event["delta"]["partial_json"].as_str())
        .collect();
    assert!(pieces.len() > 2);
    let input: Value = serde_json::from_str(&pieces.concat()).unwrap();
    assert_eq!(input["command"], "echo a long enough command");
    assert_eq!(events[0]["message"]["model"], "claude-x");
    assert!(events[0]["message"]["usage"]["input_tokens"].is_u64());
    let delta = &events[events.len() - 2];
    assert_eq!(delta["delta"]["stop_reason"], "tool_use");
    assert!(delta["usage"]["output_tokens"].is_u64());
}

#[tokio::test]
async fn the_turn_follows_from_the_request_and_a_branch_from_the_last_result() {
    let turns = json!([
        {"text": "first", "tools": [{"name": "Bash", "input": {"command": "x"}}]},
        [
            {"when": {"last_result_is_error": true}, "text": "denied: {{last_tool_result}}"},
            {"when": {"last_result_contains": "rare"}, "text": "rare"},
            {"text": "allowed: {{last_tool_result}}"}
        ]
    ]);
    let model = model(turns).await;
    for (results, expected) in [
        (&[][..], "first"),
        (&[("no", true)], "denied: no"),
        (&[("yes", false)], "allowed: yes"),
        (&[("something rare", false)], "rare"),
    ] {
        let message = body_of(&ask(&model, &conversation(results)).await);
        assert_eq!(message["content"][0]["text"], expected);
        assert_eq!(message["type"], "message");
    }
    let after = body_of(&ask(&model, &conversation(&[("", false), ("", false)])).await);
    assert!(
        after["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("scripted model, no AI")
    );
}

#[tokio::test]
async fn the_working_directory_is_taken_from_the_prompt() {
    let model =
        model(json!([{"tools": [{"name": "Write", "input": {"file_path": "{{cwd}}/a"}}]}])).await;
    let mut request = conversation(&[]);
    request["system"] = json!([{"type": "text", "text": "# Environment\n - Primary working directory: /work/here\n"}]);
    let message = body_of(&ask(&model, &request).await);
    assert_eq!(message["content"][0]["input"]["file_path"], "/work/here/a");
}

#[tokio::test]
async fn a_request_that_no_scenario_matches_is_told_so() {
    let model = model(json!([{"text": "x"}])).await;
    let request = json!({"model": "m", "messages": [{"role": "user", "content": "title, please"}]});
    let message = body_of(&ask(&model, &request).await);
    let text = message["content"][0]["text"].as_str().unwrap();
    assert_eq!(
        text,
        "[scripted model, no AI] No scenario matches this request."
    );
}

#[tokio::test]
async fn an_error_is_shown_as_often_as_told() {
    let error = json!({"status": 529, "type": "overloaded_error", "message": "Overloaded", "retry_after": 1});
    let model = model(json!([{"error": error, "times": 2, "text": "at last"}])).await;
    for _ in 0..2 {
        let answer = ask(&model, &conversation(&[])).await;
        assert!(answer.starts_with("HTTP/1.1 529") && answer.contains("retry-after: 1"));
        assert_eq!(body_of(&answer)["error"]["type"], "overloaded_error");
    }
    let message = body_of(&ask(&model, &conversation(&[])).await);
    assert_eq!(message["content"][0]["text"], "at last");
}

#[tokio::test]
async fn a_cut_stream_has_a_beginning_and_no_end() {
    let model = model(
        json!([{"cut": "mid-stream", "text": "a sentence long enough for several pieces of it"}]),
    )
    .await;
    let mut request = conversation(&[]);
    request["stream"] = json!(true);
    let answer = ask(&model, &request).await;
    assert!(answer.contains("message_start") && !answer.contains("message_stop"));
    assert!(!answer.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn only_the_expected_key_is_accepted_and_every_request_is_recorded() {
    let options = Options {
        expect_key: Some("right".to_owned()),
        ..Options::default()
    };
    let model = ScriptedModel::start_with(Scenarios::default(), options)
        .await
        .unwrap();
    let request = conversation(&[]);
    for (header, status) in [
        ("", 401),
        ("x-api-key: wrong\r\n", 401),
        ("x-api-key: right\r\n", 200),
        ("authorization: Bearer right\r\n", 200),
    ] {
        let answer = post(&model, "/v1/messages/count_tokens", header, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{header}"
        );
    }
    let seen = model.requests();
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[1].headers["x-api-key"], "wrong");
    assert_eq!(seen[2].path, "/v1/messages/count_tokens");
    assert_eq!(seen[3].body, request);
}

#[test]
fn a_mistake_in_a_scenario_is_named_with_its_turn() {
    let file = json!({"conversations": [{"prompt": "x", "turns": [{"text": "a"}, {"txt": "b"}]}]});
    let message = Scenarios::from_json(file).unwrap_err().to_string();
    assert!(
        message.contains("turn 2") && message.contains("txt"),
        "{message}"
    );
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

#[tokio::test]
async fn every_example_task_has_a_scenario_and_all_scenarios_load_together() {
    let scenarios = Scenarios::load(examples().join("scenarios")).unwrap();
    let model = ScriptedModel::start(scenarios).await.unwrap();
    let mut tasks = 0;
    for file in std::fs::read_dir(examples().join("tasks")).unwrap() {
        let task: Value =
            serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        let messages = json!([{"role": "user", "content": task["prompt"]}]);
        let answer = ask(&model, &json!({"model": "m", "messages": messages})).await;
        assert!(
            !answer.contains("scripted model, no AI"),
            "{}",
            task["prompt"]
        );
        tasks += 1;
    }
    assert!(tasks > 0);
}
