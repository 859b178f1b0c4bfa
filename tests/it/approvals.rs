//! Calls that a plugin wants a person to decide: they wait until somebody does, and whatever goes
//! wrong meanwhile is a denial.

mod endings;
mod outside;

use std::time::Duration;

use gatehouse_tests::gateway::Builder;
use gatehouse_tests::manifest::{Manifest, guest, shipped};

use gatehouse_tests::{Event, Gateway, Stream, eventually};
use serde_json::{Value, json};

/// Where no webhook is taken.
const NOBODY: &str = "http://127.0.0.1:8099/hook";
/// What the command of `one-bash-call` prints when it runs.
const RAN: &str = "as the agent asked";

fn asks() -> Manifest {
    Manifest::empty().guest("asks", "tool-permission")
}

fn asking(manifest: &Manifest) -> Builder {
    Gateway::with().scenario("one-bash-call").plugins(manifest)
}

/// A task in a mode in which nothing but the policy stands before the command.
async fn task(gateway: &Gateway, more: Value) -> String {
    let mut request = gateway.request_with(
        "run it",
        json!({"permissionMode": "bypassPermissions", "callbackUrl": NOBODY}),
    );
    request
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    gateway.run_async(&request).await
}

async fn approvals(gateway: &Gateway, id: &str) -> Vec<Value> {
    let answer = gateway.get(&format!("/tasks/{id}/approvals")).await;
    answer["approvals"].as_array().unwrap().clone()
}

/// The question, once it is put, with a record that says so.
async fn parked(gateway: &Gateway, id: &str) -> Value {
    eventually("a call waits for a person", || async {
        let record = gateway.get(&format!("/tasks/{id}")).await;
        if record["phase"] != "waiting_approval" {
            return None;
        }
        let asked = gateway
            .get(&format!("/tasks/{id}/approvals?state=pending&limit=1"))
            .await;
        asked["approvals"].get(0).cloned()
    })
    .await
}

fn path(id: &str, asked: &Value) -> String {
    format!("/tasks/{id}/approvals/{}", asked["call"].as_str().unwrap())
}

async fn post_as(gateway: &Gateway, key: &str, path: &str, body: String) -> (u16, Value) {
    let answer = reqwest::Client::new()
        .post(format!("{}{path}", gateway.url))
        .bearer_auth(key)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn decide(gateway: &Gateway, path: &str, body: Value) -> (u16, Value) {
    post_as(gateway, &gateway.admin_key(), path, body.to_string()).await
}

async fn decided(gateway: &Gateway, id: &str, body: Value) -> Value {
    let asked = parked(gateway, id).await;
    let (status, answer) = decide(gateway, &path(id, &asked), body).await;
    assert_eq!(status, 200, "{answer:#}");
    answer
}

/// What the agent was told of its first call.
fn outcome(events: &[Event]) -> String {
    let mut lines = events
        .iter()
        .filter(|event| event.id.is_some())
        .map(Event::json);
    let line = lines.find(|line| line["type"] == "user").expect("a result");
    let content = &line["message"]["content"][0]["content"];
    content.as_str().expect("text").to_owned()
}

/// Our own events of these names, in their order.
fn ours(events: &[Event], names: &[&str]) -> Vec<Value> {
    let lines = events.iter().filter(|event| event.id.is_some());
    lines
        .map(Event::json)
        .filter(|line| names.iter().any(|name| line["event"] == **name))
        .collect()
}

async fn told(stream: Stream) -> String {
    outcome(&stream.rest().await)
}

#[tokio::test]
async fn a_call_that_is_allowed_runs_however_long_that_took() {
    let gateway = asking(&asks())
        .env("GATEHOUSE__AGENT__DECISION_TIMEOUT", "1s")
        .env("GATEHOUSE__AGENT__IDLE_TIMEOUT", "3s")
        .start()
        .await;
    let id = task(&gateway, json!({})).await;
    let stream = gateway.events(&id, 0).await;
    let asked = parked(&gateway, &id).await;
    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(
        (&record["status"], &record["pendingApprovals"]),
        (&json!("running"), &json!(1))
    );
    let waiting = gateway
        .get("/tasks?status=running&phase=waiting_approval")
        .await;
    assert_eq!(waiting["tasks"][0]["taskId"], id.as_str());
    let working = gateway.get("/tasks?phase=agent").await;
    assert_eq!(working["tasks"], json!([]));
    assert_eq!(
        (&asked["tool"], &asked["plugins"], &asked["reason"]),
        (
            &json!("Bash"),
            &json!(["asks"]),
            &json!("a person must look at Bash")
        )
    );
    assert_eq!(asked["input"]["command"], format!("echo {RAN}"));

    // Longer than an agent may be silent.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let answer = decided(
        &gateway,
        &id,
        json!({"decision": "allow", "reason": "looks harmless"}),
    )
    .await;

    assert_eq!(
        (&answer["state"], &answer["answer"]["by"]),
        (&json!("allowed"), &json!("operator"))
    );
    let events = stream.rest().await;
    assert_eq!(outcome(&events), RAN);
    let said = ours(
        &events,
        &["approval_requested", "approval_decided", "decision"],
    );
    let kinds: Vec<_> = said
        .iter()
        .map(|line| (line["event"].as_str().unwrap(), line["verdict"].as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("decision", Some("ask")),
            ("approval_requested", None),
            ("approval_decided", None),
            ("decision", Some("allow"))
        ]
    );
    assert_eq!(said[2]["by"], "operator");
    let record = gateway.ended(&id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
    assert!(record.get("pendingApprovals").is_none(), "{record:#}");
    assert_eq!(record["agent"]["deniedCalls"], 0);
    let lines = gateway.decisions(&id).await;
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| (&line["stage"], &line["verdict"]))
        .collect();
    assert_eq!(
        kinds,
        [
            (&json!("tool"), &json!("ask")),
            (&json!("approval"), &json!("allow"))
        ]
    );
    assert_eq!(lines[1]["approval"]["by"], "operator");
    assert!(lines[1]["approval"]["waitedMs"].as_u64().unwrap() >= 6_000);
    assert_eq!(lines[1]["reason"], "looks harmless");
    let kept = approvals(&gateway, &id).await;
    assert_eq!((kept.len(), &kept[0]), (1, &answer));
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_call_that_is_denied_does_not_run_and_the_agent_is_told_why() {
    let gateway = asking(&asks()).start().await;
    let id = task(&gateway, json!({})).await;
    let stream = gateway.events(&id, 0).await;

    decided(
        &gateway,
        &id,
        json!({"decision": "deny", "reason": "not on a Friday"}),
    )
    .await;

    let told = told(stream).await;
    assert!(
        told.contains("A person denied this call: not on a Friday"),
        "{told}"
    );
    let record = gateway.ended(&id).await;
    assert_eq!(record["agent"]["deniedCalls"], 1, "{record:#}");
}

#[tokio::test]
async fn an_input_that_a_person_changed_runs_and_is_judged_again() {
    let settings = r#"settings = { deny = ["Bash(rm *)"] }"#;
    let manifest = asks().plugin(
        "tool-rules",
        "tool-permission",
        shipped("tool-rules"),
        settings,
    );
    let gateway = asking(&manifest).start().await;
    for (command, expected) in [
        ("echo as the person wished", "as the person wished"),
        ("rm -r .", "the rule Bash(rm *) denies it"),
    ] {
        let id = task(&gateway, json!({})).await;
        let stream = gateway.events(&id, 0).await;

        let changed = json!({"decision": "allow", "input": {"command": command}});
        let answer = decided(&gateway, &id, changed).await;

        assert_eq!(answer["answer"]["input"]["command"], command);
        let told = told(stream).await;
        assert!(told.contains(expected), "{command}: {told}");
        gateway.ended(&id).await;
    }
}

#[tokio::test]
async fn the_shipped_rules_leave_to_a_person_what_their_operator_says() {
    let settings = r#"settings = { allow = ["Bash"], ask = ["Bash(echo as *)"] }"#;
    let manifest = Manifest::empty().plugin(
        "tool-rules",
        "tool-permission",
        shipped("tool-rules"),
        settings,
    );
    let gateway = asking(&manifest).start().await;
    let id = task(&gateway, json!({})).await;
    let stream = gateway.events(&id, 0).await;

    let answer = decided(&gateway, &id, json!({"decision": "allow"})).await;

    assert_eq!(
        answer["reason"],
        "the rule Bash(echo as *) leaves it to a person"
    );
    assert_eq!(told(stream).await, RAN);
    let rule = &gateway.decisions(&id).await[0]["rule"];
    assert_eq!(*rule, "ask[0] Bash(echo as *)");
}

#[tokio::test]
async fn a_person_is_asked_once_about_what_would_run() {
    let rewrites = r#"settings = { Bash = { command = "echo rewritten" } }"#;
    let manifest = asks()
        .plugin("rewrites", "tool-permission", guest("rewrites"), rewrites)
        .plugin("asks-too", "tool-permission", guest("asks"), "")
        .plugin(
            "looks-on",
            "tool-permission",
            guest("asks"),
            "mode = \"monitor\"",
        );
    let gateway = asking(&manifest).start().await;
    let id = task(&gateway, json!({})).await;
    let stream = gateway.events(&id, 0).await;

    let answer = decided(&gateway, &id, json!({"decision": "allow"})).await;

    assert_eq!(answer["plugins"], json!(["asks", "asks-too"]));
    assert_eq!(answer["input"], json!({"command": "echo rewritten"}));
    assert_eq!(told(stream).await, "rewritten");
    assert_eq!(approvals(&gateway, &id).await.len(), 1);
}

#[tokio::test]
async fn nobody_is_asked_where_a_plugin_denies_or_only_looks_on() {
    let watches = "mode = \"monitor\"";
    for (manifest, expected) in [
        (asks().guest("denies-all", "tool-permission"), "denied"),
        (asks().guest("traps", "tool-permission"), "could not judge"),
        (
            Manifest::empty().plugin("asks", "tool-permission", guest("asks"), watches),
            RAN,
        ),
    ] {
        let gateway = asking(&manifest).start().await;
        let id = task(&gateway, json!({})).await;

        let told = told(gateway.events(&id, 0).await).await;

        assert!(told.contains(expected), "{told}");
        assert!(approvals(&gateway, &id).await.is_empty());
    }
}

#[tokio::test]
async fn more_calls_than_may_wait_are_denied_at_once() {
    let bash = |n: u32| json!({"name": "Bash", "input": {"command": format!("echo call {n}")}});
    let turns = json!([
        {"text": "Three at once.", "tools": [bash(1), bash(2), bash(3)]},
        {"text": "That was it."},
    ]);
    let gateway = Gateway::with()
        .turns(turns)
        .plugins(&asks())
        .env("GATEHOUSE__APPROVALS__MAX_PENDING", "2")
        .start()
        .await;
    let id = task(&gateway, json!({})).await;
    let too_many = |line: &Value| {
        let reason = line["reason"].as_str().unwrap_or_default();
        line["verdict"] == "deny" && reason.contains("2 calls wait for a person already")
    };
    eventually("the third call is denied while two wait", || async {
        let lines = gateway.decisions(&id).await;
        lines.iter().any(too_many).then_some(())
    })
    .await;
    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(record["pendingApprovals"], 2, "{record:#}");

    for asked in approvals(&gateway, &id).await {
        decide(&gateway, &path(&id, &asked), json!({"decision": "allow"})).await;
    }

    let record = gateway.ended(&id).await;
    assert_eq!(record["agent"]["deniedCalls"], 1, "{record:#}");
}

#[tokio::test]
async fn of_many_answers_at_once_the_first_counts_and_the_rest_are_told() {
    let gateway = asking(&asks()).start().await;
    let id = task(&gateway, json!({})).await;
    let stream = gateway.events(&id, 0).await;
    let path = path(&id, &parked(&gateway, &id).await);

    let answers = (0..8).map(|n| {
        let decision = if n % 2 == 0 { "allow" } else { "deny" };
        decide(&gateway, &path, json!({"decision": decision}))
    });
    let answers = futures::future::join_all(answers).await;

    let won: Vec<_> = answers
        .iter()
        .filter(|(status, _)| *status == 200)
        .collect();
    assert_eq!(won.len(), 1, "{answers:#?}");
    for (status, answer) in answers.iter().filter(|(status, _)| *status != 200) {
        let code = answer["code"].as_str();
        // Or the task is over already.
        assert_eq!(*status, 409);
        assert!(
            matches!(code, Some("approval-decided" | "task-over")),
            "{answer}"
        );
    }
    let allowed = won[0].1["state"] == "allowed";
    assert_eq!(told(stream).await == RAN, allowed);
}
