//! Validators and actions through the whole service, and what an operator sees of plugins.

use gatehouse_tests::Gateway;
use gatehouse_tests::manifest::{Manifest, guest, shipped};
use serde_json::{Value, json};

fn request_rules(settings: &str) -> Manifest {
    Manifest::empty().plugin(
        "request-rules",
        "validator",
        shipped("request-rules"),
        &format!("settings = {settings}"),
    )
}

#[tokio::test]
async fn a_validator_refuses_with_its_own_code_and_names_the_field() {
    let gateway = Gateway::with()
        .plugins(&request_rules(
            r#"{ max_turns = 3, max_prompt_bytes = 100 }"#,
        ))
        .start()
        .await;

    let response = gateway
        .post(
            "/run",
            &gateway.request_with("hello", json!({"maxTurns": 4})),
        )
        .await;
    assert_eq!(response.status(), 403);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["field"], "maxTurns");
    assert!(
        body["error"].as_str().unwrap().contains('3'),
        "it says what was expected: {body}"
    );

    let response = gateway
        .post("/run", &gateway.request(&"x".repeat(101)))
        .await;
    assert_eq!(response.json::<Value>().await.unwrap()["field"], "prompt");
    assert!(gateway.model_requests().is_empty());
}

#[tokio::test]
async fn an_amendment_takes_effect_and_is_echoed() {
    let gateway = Gateway::with()
        .plugins(&request_rules("{ max_turns = 3, clamp = true }"))
        .start()
        .await;

    let stream = gateway
        .run(&gateway.request_with("hello", json!({"maxTurns": 40})))
        .await;
    let id = stream.task_id.clone();
    stream.rest().await;

    assert_eq!(
        gateway.get(&format!("/tasks/{id}")).await["effective"]["maxTurns"],
        3
    );
    let decisions = gateway.decisions(&id).await;
    assert_eq!(
        (&decisions[0]["stage"], &decisions[0]["verdict"]),
        (&json!("validation"), &json!("amend"))
    );
}

#[tokio::test]
async fn an_amendment_that_breaks_the_schema_or_touches_a_secret_is_not_applied() {
    for patch in [
        r#"{ maxTurns = "many" }"#,
        r#"{ anthropicApiKey = "mine" }"#,
        r#"{ nonsense = 1 }"#,
    ] {
        let manifest = Manifest::empty().plugin(
            "amends",
            "validator",
            guest("amends"),
            &format!("settings = {{ patch = {patch} }}"),
        );
        let gateway = Gateway::with().plugins(&manifest).start().await;
        let response = gateway.post("/run", &gateway.request("hello")).await;
        assert_eq!(response.status(), 503, "{patch}");
        assert_eq!(
            response.json::<Value>().await.unwrap()["code"],
            "validator-amendment-invalid",
            "{patch}"
        );
    }
}

#[tokio::test]
async fn a_validator_that_loops_is_cut_and_refuses() {
    let gateway = Gateway::with()
        .plugins(&Manifest::empty().guest("loops-validator", "validator"))
        .start()
        .await;
    let response = gateway.post("/run", &gateway.request("hello")).await;
    let (status, body) = (response.status(), response.json::<Value>().await.unwrap());
    assert!(!status.is_success(), "{body}");
    assert_eq!(body["code"], "plugin-failed");
}

#[tokio::test]
async fn monitor_mode_records_and_changes_nothing() {
    let manifest = Manifest::empty().plugin(
        "denies-all",
        "tool-permission",
        guest("denies-all"),
        r#"mode = "monitor""#,
    );
    let gateway = Gateway::with()
        .scenario("one-bash-call")
        .plugins(&manifest)
        .start()
        .await;

    let stream = gateway
        .run(&gateway.request_with("run it", json!({"permissionMode": "bypassPermissions"})))
        .await;
    let id = stream.task_id.clone();
    let text: String = stream
        .rest()
        .await
        .iter()
        .map(|event| event.data.clone())
        .collect();

    assert!(text.contains("as the agent asked"), "the call ran");
    let decisions = gateway.decisions(&id).await;
    assert_eq!(
        (&decisions[0]["verdict"], &decisions[0]["enforced"]),
        (&json!("deny"), &json!(false))
    );
}

#[tokio::test]
async fn an_actions_options_are_checked_before_anything_is_stored() {
    let gateway = Gateway::with().start().await;
    for (options, field) in [
        (
            json!({"uploadFiles": {"globPatterns": "not a list"}}),
            "postExecutionActions.uploadFiles",
        ),
        (json!({"teleport": {}}), "postExecutionActions.teleport"),
    ] {
        let request = gateway.request_with("hello", json!({"postExecutionActions": options}));
        let response = gateway.post("/run", &request).await;
        assert_eq!(response.status(), 400);
        assert_eq!(response.json::<Value>().await.unwrap()["field"], field);
    }
}

#[tokio::test]
async fn an_action_reads_nothing_outside_the_workspace() {
    let manifest = Manifest::empty().plugin(
        "reads-outside",
        "post-execution",
        guest("reads-outside"),
        r#"grants = ["workspace", "artifacts"]"#,
    );
    let gateway = Gateway::with()
        .scenario("plants-links")
        .plugins(&manifest)
        .start()
        .await;
    let more = json!({"permissionMode": "bypassPermissions", "postExecutionActions": {"reads-outside": {}}, "maxTurns": 20});

    let events = gateway
        .run(&gateway.request_with("plant links", more))
        .await
        .rest()
        .await;

    let report = events.last().unwrap().json();
    let action = &report["actions"]["reads-outside"];
    assert_eq!(action["status"], "ok", "{report:#}");
    assert!(
        !action.to_string().contains("root:"),
        "it read /etc/passwd: {action:#}"
    );
}

#[tokio::test]
async fn the_operator_sees_each_plugin_with_its_digest_grants_and_counts() {
    let gateway = Gateway::with().scenario("one-bash-call").start().await;
    let more = json!({"permissionMode": "bypassPermissions"});
    gateway
        .run(&gateway.request_with("run it", more))
        .await
        .rest()
        .await;

    let plugins = gateway.get("/plugins").await;
    assert!(
        plugins["revision"]
            .as_str()
            .is_some_and(|revision| revision.len() >= 16),
        "{plugins:#}"
    );
    let names: Vec<&str> = plugins["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["request-rules", "tool-rules", "upload-files"]);
    for plugin in plugins["plugins"].as_array().unwrap() {
        assert_eq!(plugin["state"], "active");
        assert_eq!(plugin["digest"].as_str().unwrap().len(), 64);
    }
    assert!(
        plugins["plugins"][0]["calls"].as_u64().unwrap() >= 1,
        "{plugins:#}"
    );
}
