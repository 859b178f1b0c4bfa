//! Who may decide, what they are shown, and how they hear of it.

use base64::Engine as _;
use gatehouse_tests::receiver::Delivery;
use gatehouse_tests::{Receiver, binary};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;

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
