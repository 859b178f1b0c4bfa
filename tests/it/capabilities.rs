//! What plugins reach beyond their task: only what was granted, and a plugin that tries more costs its
//! own call only.

use gatehouse_tests::manifest::{Manifest, guest};
use gatehouse_tests::{Elsewhere, Gateway};
use serde_json::{Value, json};

fn uses_http(grants: &str, more: &str) -> Manifest {
    Manifest::empty()
        .plugin(
            "uses-http",
            "post-execution",
            guest("uses-http"),
            &format!("grants = [{grants}]\n{more}"),
        )
        .guest("reports-outcome", "post-execution")
}

/// Runs a task whose action sends this; what came of each, and the gateway.
async fn sends(manifest: &Manifest, send: Value, secrets: Value) -> (Vec<Value>, Gateway) {
    let gateway = Gateway::with().plugins(manifest).start().await;
    let more = json!({
        "environmentSecrets": secrets,
        "postExecutionActions": {"uses-http": {"send": send}, "reports-outcome": {}},
    });
    let events = gateway
        .run(&gateway.request_with("hello", more))
        .await
        .rest()
        .await;
    let report = events.last().unwrap().json();
    assert_eq!(report["status"], "completed", "{report:#}");
    let action = &report["actions"]["uses-http"];
    assert_eq!(action["status"], "ok", "{action:#}");
    // Whatever it tried, the next action ran.
    assert_eq!(report["actions"]["reports-outcome"]["status"], "ok");
    let got = action["result"].as_array().unwrap().clone();
    gateway.is_clean().await;
    (got, gateway)
}

fn codes(got: &[Value]) -> Vec<&str> {
    let code = |one: &Value| one["refused"].as_str().map(str::to_owned);
    got.iter()
        .map(|one| match code(one) {
            Some(_) => one["refused"].as_str().unwrap(),
            None => "answered",
        })
        .collect()
}

#[tokio::test]
async fn a_granted_host_is_reached_and_a_granted_secret_is_sent_but_never_seen() {
    let elsewhere = Elsewhere::start([]).await;
    let url = &elsewhere.url;
    let manifest = uses_http(&format!(r#""http:{url}", "secret:DEPLOY_TOKEN""#), "");
    let secret = "deploy-token-4711-of-the-test";
    let send = json!([
        {"method": "POST", "url": format!("{url}/plain?x=1"), "headers": [["X-One", "1"]], "body": "{}"},
        {"url": format!("{url}/echo"), "headers": [["Authorization", "Bearer [secret:DEPLOY_TOKEN]"]]},
    ]);

    let (got, gateway) = sends(&manifest, send, json!({"DEPLOY_TOKEN": secret})).await;

    let received = elsewhere.received();
    assert_eq!(
        (received[0].method.as_str(), received[0].path.as_str()),
        ("POST", "/plain?x=1")
    );
    assert_eq!(received[0].header("x-one"), "1");
    assert_eq!(received[0].body.as_ref(), b"{}");
    assert_eq!(
        received[1].header("authorization"),
        format!("Bearer {secret}")
    );
    // The service echoed it in a header and in the body; both are clean.
    assert_eq!(got[0]["status"], 200);
    let text = got[1].to_string();
    assert_eq!(got[1]["status"], 200);
    assert!(text.contains("Bearer [REDACTED]"), "{text}");
    assert!(!text.contains(secret), "{text}");
    assert!(!gateway.log().contains(secret));
}

#[tokio::test]
async fn what_was_not_granted_is_refused_with_plugin_and_grant_named_and_logged() {
    let (elsewhere, other) = (Elsewhere::start([]).await, Elsewhere::start([]).await);
    let url = &elsewhere.url;
    // The guest may hand over so much, so that it is the host's own bound that is met.
    let manifest = uses_http(
        &format!(r#""http:{url}", "secret:GRANTED""#),
        r#"limits = { output = "4MiB" }"#,
    );
    let send = json!([
        {"url": format!("{}/", other.url)},
        {"url": url.replace("http://", "https://")},
        {"url": "https://evil.example/"},
        {"url": "http://169.254.169.254/latest/meta-data/"},
        {"url": format!("{url}/"), "headers": [["x", "[secret:OTHER]"]]},
        {"url": format!("{url}/"), "headers": [["x", "[secret:anthropicApiKey]"]]},
        {"url": format!("{url}/"), "headers": [["x", "[secret:GRANTED]"]]},
        {"url": format!("{url}/"), "headers": [["Host", "evil.example"]]},
        {"url": format!("{url}/"), "method": "CONNECT"},
        {"url": format!("{url}/"), "bodyBytes": (1 << 20) + 1},
    ]);

    let secrets = json!({"OTHER": "other-secret-0815"});
    let (got, gateway) = sends(&manifest, send, secrets).await;

    let not = "not-granted";
    let expected = [
        not,
        not,
        not,
        not,
        not,
        not,
        "no-secret",
        "invalid-request",
        "invalid-request",
        "too-large",
    ];
    assert_eq!(codes(&got), expected, "{got:#?}");
    let message = got[2]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "the plugin `uses-http` has no grant `http:https://evil.example`"
    );
    let message = got[4]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "the plugin `uses-http` has no grant `secret:OTHER`"
    );
    let tasks = gateway.get("/tasks").await;
    let id = tasks["tasks"][0]["taskId"].as_str().unwrap();
    let decisions = gateway.decisions(id).await;
    let decision = decisions.iter().find(|one| one["plugin"] == "uses-http");
    let reason = decision.unwrap()["reason"].as_str().unwrap();
    for grant in [
        "http:https://evil.example",
        "secret:OTHER",
        "secret:anthropicApiKey",
    ] {
        assert!(reason.contains(grant), "{reason}");
    }
    assert!(elsewhere.received().is_empty() && other.received().is_empty());
}

#[tokio::test]
async fn redirects_huge_answers_slow_servers_and_a_thousand_requests_end_as_documented() {
    let (elsewhere, other) = (Elsewhere::start([]).await, Elsewhere::start([]).await);
    let url = &elsewhere.url;
    let send = json!([
        {"url": format!("{url}/redirect?{}/stolen", other.url)},
        {"url": format!("{url}/huge")},
        {"url": format!("{url}/slow"), "timeoutMs": 200},
        {"url": format!("{url}/many"), "times": 1000},
    ]);

    let (got, _gateway) = sends(&uses_http(&format!(r#""http:{url}""#), ""), send, json!({})).await;

    assert_eq!(got[0]["status"], 302, "{got:#?}");
    assert!(
        other.received().is_empty(),
        "somebody followed the redirect"
    );
    assert_eq!(got[1]["refused"], "answer-too-large");
    assert_eq!(got[2]["refused"], "timed-out");
    assert_eq!(got[3], json!({"200": 29, "too-many-requests": 971}));
    let many = elsewhere.received();
    assert_eq!(many.iter().filter(|one| one.path == "/many").count(), 29);
}

#[tokio::test]
async fn a_call_that_waits_for_a_server_ends_with_its_own_limit_and_only_its_own() {
    let elsewhere = Elsewhere::start([]).await;
    let url = &elsewhere.url;
    let manifest = uses_http(
        &format!(r#""http:{url}""#),
        r#"limits = { time = "500ms" }"#,
    );
    let gateway = Gateway::with().plugins(&manifest).start().await;
    let more = json!({"postExecutionActions": {
        "uses-http": {"send": [{"url": format!("{url}/slow")}]}, "reports-outcome": {},
    }});
    let events = gateway
        .run(&gateway.request_with("hello", more))
        .await
        .rest()
        .await;
    let report = events.last().unwrap().json();
    assert_eq!(report["status"], "completed");
    let action = &report["actions"]["uses-http"];
    assert_eq!(
        (&action["status"], &action["error"]),
        (
            &json!("error"),
            &json!("The plugin `uses-http` took too long.")
        ),
        "{report:#}"
    );
    assert_eq!(report["actions"]["reports-outcome"]["status"], "ok");
}

#[tokio::test]
async fn a_grant_that_can_never_be_used_or_does_not_exist_keeps_the_set_from_becoming_active() {
    for (grants, private, hint) in [
        (
            r#""http:http://127.0.0.1:9""#,
            "deny",
            "plain http is not allowed",
        ),
        (r#""http:http://example.com""#, "allow", "plain http"),
        (r#""http:https://*.example.com""#, "allow", "one by one"),
        (
            r#""http:https://example.com", "secret:anthropicApiKey""#,
            "allow",
            "no plugin can",
        ),
        (r#""network""#, "allow", "http:https://HOST[:PORT]"),
        ("", "allow", "http:https://HOST"),
    ] {
        let gateway = Gateway::with()
            .plugins(&uses_http(grants, ""))
            .env("GATEHOUSE__OUTBOUND__PRIVATE_ADDRESSES", private)
            .start()
            .await;
        let plugins = gateway.get("/plugins").await;
        assert_eq!(plugins["revision"], Value::Null, "{grants}");
        let error = plugins["plugins"][0]["error"].as_str().unwrap();
        assert!(error.contains(hint), "{grants}: {error}");
    }
}

#[tokio::test]
async fn git_is_for_plugins_that_were_granted_it() {
    let ungranted = Manifest::empty().guest("uses-git", "post-execution");
    let gateway = Gateway::with().plugins(&ungranted).start().await;
    let plugins = gateway.get("/plugins").await;
    assert_eq!(plugins["plugins"][0]["code"], "plugin-not-granted");
    let error = plugins["plugins"][0]["error"].as_str().unwrap();
    assert!(error.contains(r#"add "git""#), "{error}");
}
