//! The agent looks for the credential everywhere and does not find it; nobody else sees a secret either.

use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Gateway, Receiver};
use serde_json::json;

#[tokio::test]
async fn the_agent_finds_no_credential_in_its_environment_its_files_proc_or_the_broker() {
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with()
        .scenario("prints-environment")
        .env("LOG_LEVEL", "trace")
        .start()
        .await;

    let request = gateway.request_with(
        "print your environment",
        json!({
            "permissionMode": "bypassPermissions", "maxTurns": 40, "callbackUrl": receiver.url,
            "environmentSecrets": {"DEPLOY_TOKEN": gateway.canaries.environment_secret},
            "metadata": {"ticket": "T-1"},
        }),
    );
    let id = gateway.run_async(&request).await;
    let record = gateway.ended(&id).await;
    assert_eq!(record["status"], "completed", "{record:#}");

    // The agent really printed its environment: the name is there, the value is not.
    let events = gateway.events(&id, 0).await.rest().await;
    let text: String = events.iter().map(|event| event.data.as_str()).collect();
    assert!(
        text.contains("DEPLOY_TOKEN=[REDACTED]"),
        "the agent did not print its environment"
    );
    let delivery = receiver.delivery(1).await;
    for (what, bytes) in [
        ("events", text.as_bytes()),
        ("webhook", &delivery.body),
        ("record", record.to_string().as_bytes()),
    ] {
        assert!(
            gateway.canaries.found_in(bytes).is_empty(),
            "a secret in the {what}"
        );
    }
    // The model saw the real key on every request, and nothing that the agent sent held it.
    let requests = gateway.model_requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(
            request.headers.get("x-api-key"),
            Some(&gateway.canaries.api_key)
        );
        assert!(
            gateway
                .canaries
                .found_in(request.body.to_string().as_bytes())
                .iter()
                .all(|found| *found != gateway.canaries.api_key)
        );
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn an_oauth_token_is_sent_as_bearer_and_stays_as_hidden() {
    let gateway = Gateway::with().start().await;
    let request = json!({
        "prompt": "scenario: text-only", "model": "claude-sonnet-5-5", "anthropicOAuthToken": gateway.canaries.api_key,
    });

    let events = gateway.run(&request).await.rest().await;

    let report = events.last().unwrap().json();
    assert_eq!(
        report["status"],
        "completed",
        "{report:#}\n{}",
        gateway.log()
    );
    let bearer = format!("Bearer {}", gateway.canaries.api_key);
    for request in gateway.model_requests() {
        assert_eq!(request.headers.get("authorization"), Some(&bearer));
        assert_eq!(request.headers.get("x-api-key"), None);
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn the_sealed_payload_is_gone_once_the_task_is_over() {
    let gateway = Gateway::with().scenario("slow").start().await;
    let mut stream = gateway
        .run(&gateway.request_with("slow", json!({"maxTurns": 50})))
        .await;
    let payload = format!("tasks/{}/payload.enc", stream.task_id);

    stream.until(|event| event.id.is_some()).await;
    assert!(gateway.object(&payload).is_some());
    stream.until(|event| event.name == "done").await;

    gateway.is_clean().await;
    assert_eq!(gateway.object(&payload), None);
}

#[tokio::test]
async fn a_secret_across_the_end_of_a_long_line_of_output_leaves_nothing_of_itself() {
    let gateway = Gateway::with().start().await;
    let secret = &gateway.canaries.environment_secret;
    // So that the 16 KiB which are passed on end before, within and behind the secret.
    let command = format!(
        "for more in $(seq 0 {}); do head -c $((16384 - more)) /dev/zero | tr '\\0' .; \
         echo \"${{DEPLOY_TOKEN}}and so on\"; done",
        secret.len() + 1
    );
    let request = gateway.request_with(
        "hello",
        json!({
            "environmentSecrets": {"DEPLOY_TOKEN": secret},
            "preExecutionCommands": [command],
        }),
    );
    let events = gateway.run(&request).await.rest().await;

    let report = events.last().unwrap().json();
    assert_eq!(report["status"], "completed", "{report:#}");
    let lines: Vec<String> = events
        .iter()
        .map(|event| event.data.clone())
        .filter(|line| line.contains("\"stdout\""))
        .collect();
    assert_eq!(lines.len(), secret.len() + 2);
    let beginning = &secret[..4];
    assert!(!lines.iter().any(|line| line.contains(beginning)));
    let hidden = lines.iter().filter(|line| line.contains("[REDACTED]"));
    assert_eq!(hidden.count(), secret.len() + 1);
}

#[tokio::test]
async fn a_secret_that_the_agent_puts_into_a_call_is_not_in_the_log_of_decisions() {
    let cli = gatehouse_tests::binary().with_file_name("misbehaving-cli");
    let gateway = Gateway::with()
        .env("GATEHOUSE_CLAUDE_BIN", cli.to_str().unwrap())
        .start()
        .await;
    let secret = &gateway.canaries.environment_secret;
    let more = json!({"environmentSecrets": {"DEPLOY_TOKEN": secret}, "allowedTools": ["Read"]});
    let stream = gateway
        .run(&gateway.request_with("put a secret into a call", more))
        .await;
    let id = stream.task_id.clone();
    let report = stream.rest().await.pop().unwrap().json();

    assert_eq!(report["status"], "completed", "{report:#}");
    let decisions = gateway.decisions(&id).await;
    let denied: Vec<_> = decisions
        .iter()
        .filter(|decision| decision["verdict"] == "deny")
        .collect();
    assert_eq!(denied.len(), 1, "{decisions:#?}");
    assert_eq!(denied[0]["tool"], "[REDACTED]");
    assert!(denied[0]["reason"].as_str().unwrap().contains("[REDACTED]"));
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_plugin_that_repeats_secrets_leaves_nothing_of_them_in_any_log() {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let secret = format!("canary-repeated-{unique}");
    // Secrets without end, so that wherever words are cut one lies across, each time at another place.
    let calls = [0, 16, 32].map(|before| {
        let command = "x".repeat(before) + &secret.repeat(100);
        json!({"tools": [{"name": "Bash", "input": {"command": command}}]})
    });
    let mut turns = calls.to_vec();
    turns.push(json!({"text": "done"}));
    let mut gateway = Gateway::with()
        .plugins(&Manifest::empty().guest("repeats", "tool-permission"))
        .turns(json!(turns))
        .start()
        .await;
    // Its beginning is one as well.
    gateway.canaries.add(&secret[..16]);

    let more = json!({"environmentSecrets": {"DEPLOY_TOKEN": secret}});
    let mut stream = gateway.run(&gateway.request_with("hello", more)).await;
    let id = stream.task_id.clone();
    stream.until(|event| event.id.is_some()).await;
    let log = gateway.open_job_log(&id);
    let events = stream.rest().await;

    let report = events.last().unwrap().json();
    assert_eq!(report["status"], "completed", "{report:#}");
    let decisions = gateway.decisions(&id).await;
    let denied: Vec<_> = decisions
        .iter()
        .filter(|one| one["verdict"] == "deny")
        .collect();
    assert_eq!(denied.len(), 3, "{decisions:#?}");
    for words in ["reason", "rule"] {
        for decision in &denied {
            assert!(decision[words].as_str().unwrap().contains("[REDACTED]"));
        }
    }
    gateway.is_clean().await;
    let logged = std::io::read_to_string(log).unwrap();
    assert!(
        gateway.canaries.found_in(logged.as_bytes()).is_empty(),
        "{logged}"
    );
    let of_the_plugin = logged.lines().filter(|line| {
        line.contains("repeats") && line.contains("WARN") && line.contains("[REDACTED]")
    });
    assert_eq!(of_the_plugin.count(), 3, "{logged}");
    gateway.has_leaked_nothing();
}
