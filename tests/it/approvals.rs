//! Calls that a plugin wants a person to decide: they wait until somebody does, and whatever goes
//! wrong meanwhile is a denial.

use std::time::{Duration, Instant};

use base64::Engine as _;
use gatehouse_tests::gateway::Builder;
use gatehouse_tests::manifest::{Manifest, guest, shipped};

use gatehouse_tests::receiver::Delivery;
use gatehouse_tests::{Event, Gateway, Receiver, Stream, binary, eventually};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

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

#[tokio::test]
async fn only_the_operator_decides_and_only_what_can_be_meant() {
    let gateway = asking(&asks())
        .env("GATEHOUSE_API_KEYS", "callers-key")
        .start()
        .await;
    let admin = gateway.admin_key();
    let request = gateway.request_with(
        "run it",
        json!({"permissionMode": "bypassPermissions", "callbackUrl": NOBODY}),
    );
    let (status, accepted) =
        post_as(&gateway, "callers-key", "/run-async", request.to_string()).await;
    assert_eq!(status, 202, "{accepted}");
    let id = accepted["taskId"].as_str().unwrap();
    let get = |path: String, key: &'static str| {
        let request = reqwest::Client::new().get(format!("{}{path}", gateway.url));
        async move {
            let answer = request.bearer_auth(key).send().await.unwrap();
            (
                answer.status().as_u16(),
                answer.json::<Value>().await.unwrap(),
            )
        }
    };
    let asked = eventually("a call waits", || async {
        let (_, answer) = get(format!("/tasks/{id}/approvals"), "callers-key").await;
        answer["approvals"].get(0).cloned()
    })
    .await;
    let path = path(id, &asked);
    let allow = || json!({"decision": "allow"}).to_string();

    for (key, status, code) in [
        ("callers-key", 403, "operators-only"),
        ("x", 401, "unauthorized"),
    ] {
        let (got, answer) = post_as(&gateway, key, &path, allow()).await;
        assert_eq!((got, &answer["code"]), (status, &json!(code)));
    }
    for body in [
        "",
        "[]",
        "{}",
        r#"{"decision": "ask"}"#,
        r#"{"decision": "allow", "approved_by": "me"}"#,
        r#"{"decision": "allow", "input": []}"#,
        r#"{"decision": "deny", "input": {}}"#,
        r#"{"decision": "deny", "reason": " "}"#,
    ] {
        let (status, answer) = post_as(&gateway, &admin, &path, body.to_owned()).await;
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!("invalid-decision")),
            "{body}"
        );
    }
    for (path, code) in [
        (
            format!("/tasks/{id}/approvals/toolu_other"),
            "approval-not-found",
        ),
        (
            format!("/tasks/{id}/approvals/..%2f..%2fmetadata"),
            "approval-not-found",
        ),
        ("/tasks/nobody/approvals/x".to_owned(), "task-not-found"),
    ] {
        let (status, answer) = post_as(&gateway, &admin, &path, allow()).await;
        assert_eq!((status, &answer["code"]), (404, &json!(code)), "{path}");
    }
    for query in ["limit=0", "limit=101", "state=open", "states=pending"] {
        let (status, answer) = get(format!("/tasks/{id}/approvals?{query}"), "callers-key").await;
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!("invalid-query")),
            "{query}"
        );
    }
    let (status, answer) = post_as(&gateway, &admin, &path, allow()).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_secret_is_not_shown_to_whoever_decides_and_kept_nowhere() {
    let secret = format!("deploy-token-{}", std::process::id());
    let command = format!("test {secret} = \"$DEPLOY_TOKEN\" && echo it is the token");
    let bash = json!({"name": "Bash", "input": {"command": command}});
    let turns = json!([{"text": "Look.", "tools": [bash]}, {"text": "That was it."}]);
    let receiver = Receiver::start([]).await;
    let mut gateway = Gateway::with().turns(turns).plugins(&asks()).start().await;
    gateway.canaries.add(&secret);
    let more = json!({
        "environmentSecrets": {"DEPLOY_TOKEN": secret}, "callbackUrl": receiver.url,
    });
    let id = task(&gateway, more).await;
    let stream = gateway.events(&id, 0).await;
    let asked = parked(&gateway, &id).await;
    assert_eq!(asked["redacted"], true);
    let shown = asked["input"]["command"].as_str().unwrap();
    assert!(shown.contains("test [REDACTED] ="), "{shown}");
    let repeated = json!({"decision": "allow", "input": asked["input"]});
    let (status, answer) = decide(&gateway, &path(&id, &asked), repeated).await;
    assert_eq!((status, &answer["field"]), (400, &json!("input")));

    let reason = format!("{secret} is the right one");
    decided(
        &gateway,
        &id,
        json!({"decision": "allow", "reason": reason}),
    )
    .await;

    assert_eq!(told(stream).await, "it is the token");
    gateway.ended(&id).await;
    let announced = receiver.delivery(1).await;
    assert_eq!(
        gateway.canaries.found_in(&announced.body),
        Vec::<String>::new()
    );
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn who_is_called_back_is_told_that_a_call_waits() {
    let receiver = Receiver::start([503]).await;
    let gateway = asking(&asks())
        .env("GATEHOUSE__WEBHOOK__RETRY", "0s, 100ms, 100ms")
        .start()
        .await;
    let more = json!({"callbackUrl": receiver.url, "labels": {"team": "a"}});
    let id = task(&gateway, more).await;
    let asked = parked(&gateway, &id).await;

    // Again after a failure, as every report.
    let (first, told) = (receiver.delivery(1).await, receiver.delivery(2).await);
    decided(&gateway, &id, json!({"decision": "allow"})).await;
    let report = receiver.delivery(3).await;

    let call = asked["call"].as_str().unwrap();
    let message = format!("msg_{id}_approval_{call}");
    assert_eq!(told.header("webhook-id"), message);
    assert_eq!(first.body, told.body);
    let secret = &gateway.canaries.webhook_secret;
    for delivery in [&told, &report] {
        assert!(signed(secret, delivery), "{delivery:?}");
    }
    let body = told.json();
    assert_eq!(
        (&body["type"], &body["taskId"], &body["labels"]["team"]),
        (&json!("approval.requested"), &json!(id), &json!("a"))
    );
    assert_eq!(body["approval"], asked);
    assert_eq!(report.header("webhook-id"), format!("msg_{id}_completed"));
    let report = report.json();
    assert!(report.get("type").is_none(), "{report:#}");
    assert_eq!(report["status"], "completed");
    gateway.is_clean().await;
    assert_eq!(receiver.deliveries().len(), 3);
}

fn signed(secret: &str, delivery: &Delivery) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    for part in ["webhook-id", "webhook-timestamp"] {
        mac.update(delivery.header(part).as_bytes());
        mac.update(b".");
    }
    mac.update(&delivery.body);
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    delivery.header("webhook-signature") == format!("v1,{signature}")
}

/// `gatehouse approval …` against the gateway, with the key that it made.
async fn approval(gateway: &Gateway, arguments: &[&str]) -> (bool, String) {
    let output = tokio::process::Command::new(binary())
        .arg("approval")
        .args(arguments)
        .args(["--url", &gateway.url])
        .env_clear()
        .env("GATEHOUSE_DATA_DIR", gateway.data())
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn an_operator_sees_and_decides_on_the_command_line() {
    let gateway = asking(&asks()).start().await;
    let id = task(&gateway, json!({})).await;
    let asked = parked(&gateway, &id).await;
    let call = asked["call"].as_str().unwrap();
    let changed = gateway.data().join("changed.json");
    std::fs::write(&changed, r#"{"command": "echo from a file"}"#).unwrap();

    let (_, listed) = approval(&gateway, &["list", &id]).await;
    let input = changed.to_str().unwrap();
    let (done, allowed) = approval(
        &gateway,
        &["allow", &id, call, "--input", input, "--reason", "fits"],
    )
    .await;
    let (again, refused) = approval(&gateway, &["deny", &id, call]).await;

    assert!(listed.contains(call) && listed.contains(RAN), "{listed}");
    assert!(
        done && allowed.contains("allowed") && allowed.contains("fits"),
        "{allowed}"
    );
    assert!(
        !again && (refused.contains("already") || refused.contains("over")),
        "{refused}"
    );
    let told = told(gateway.events(&id, 0).await).await;
    assert_eq!(told, "from a file");
}
