//! What callers of the Node service rely on, field by field, on one machine and in the cloud: its documents and
//! its code named these, and nothing else is used here.

use std::collections::BTreeSet;

use gatehouse_tests::{BUCKET, CloudRun, Event, Gateway, Receiver, eventually, repository};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// Where the gateway keeps and runs everything.
enum Place {
    Here,
    Cloud(CloudRun),
}

impl Place {
    async fn gateway(&self, scenario: &str) -> Gateway {
        let gateway = Gateway::with().scenario(scenario);
        match self {
            Self::Here => gateway.start().await,
            Self::Cloud(service) => {
                let gateway = gateway.cloud(service).start().await;
                service.deploy(&gateway, |_| ());
                gateway
            }
        }
    }

    fn object(&self, gateway: &Gateway, name: &str) -> Option<Vec<u8>> {
        match self {
            Self::Here => std::fs::read(gateway.data().join("bucket").join(name)).ok(),
            Self::Cloud(service) => Some(service.google.object(BUCKET, name)?.to_vec()),
        }
    }
}

async fn everywhere() -> [Place; 2] {
    [Place::Here, Place::Cloud(CloudRun::start().await)]
}

/// Panics where a field is missing or of another kind; more fields than these are no harm.
fn has(value: &Value, fields: &[(&str, Kind)]) {
    for (name, kind) in fields {
        let field = &value[*name];
        let fits = match kind {
            Kind::Text => field.is_string(),
            Kind::Number => field.is_u64(),
            Kind::Flag => field.is_boolean(),
            Kind::Object => field.is_object(),
            Kind::List => field.is_array(),
            // As JavaScript writes it: "2026-11-27T12:00:00.000Z".
            Kind::Time => field
                .as_str()
                .is_some_and(|text| text.len() == 24 && text.ends_with('Z')),
        };
        assert!(fits, "{name} in {value:#}");
    }
}

enum Kind {
    Text,
    Number,
    Flag,
    Object,
    List,
    Time,
}

use Kind::{Flag, List, Number, Object, Text, Time};

async fn answer(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let response = gateway.post(path, body).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn requests_that_were_refused_are_refused_with_the_same_words() {
    let gateway = Gateway::with().start().await;
    let key = "anthropicApiKey";
    let hook = "http://127.0.0.1:1/";
    for (path, body, error) in [
        ("/run", json!({key: "k"}), "prompt is required"),
        (
            "/run",
            json!({"prompt": "p"}),
            "Either anthropicApiKey or anthropicOAuthToken is required",
        ),
        ("/run-async", json!({}), "prompt is required"),
        (
            "/run-async",
            json!({"prompt": "p", key: "k"}),
            "callbackUrl is required for async tasks",
        ),
        (
            "/run-async",
            json!({"prompt": "p", "callbackUrl": hook}),
            "Either anthropicApiKey or anthropicOAuthToken is required",
        ),
        (
            "/run-async",
            json!({"prompt": "p", key: "k", "callbackUrl": "no url"}),
            "callbackUrl is not a valid URL",
        ),
        (
            "/run-async",
            json!({"prompt": "p", key: "k", "callbackUrl": "ftp://example.com/"}),
            "callbackUrl must use http or https protocol",
        ),
        (
            "/run-async",
            json!({"prompt": "p", key: "k", "callbackUrl": hook, "taskId": "a b"}),
            "taskId must be URL-safe (alphanumeric, underscore, hyphen only)",
        ),
        (
            "/cancel/a%20b",
            json!({}),
            "Invalid taskId format. Must be alphanumeric with underscores and hyphens only.",
        ),
    ] {
        let (status, answer) = answer(&gateway, path, &body).await;
        assert_eq!(
            (status, &answer["error"]),
            (400, &json!(error)),
            "{path} {body}"
        );
    }
    let (status, unknown) = answer(&gateway, "/cancel/nobody-knows", &json!({})).await;
    assert_eq!(status, 404);
    assert_eq!(unknown["error"], "Task not found");
    has(&unknown, &[("message", Text), ("taskId", Text)]);
}

#[tokio::test]
async fn paths_and_health_are_where_they_were() {
    for place in everywhere().await {
        let gateway = place.gateway("text-only").await;
        for (path, text) in [
            ("/", "Claude Code Agent is running"),
            ("/health", "ok"),
            ("/healthz", "ok"),
        ] {
            let answer = gateway.try_get(path).await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.text().await.unwrap(), text, "{path}");
        }
        let verbose = gateway.get("/health?verbose=true").await;
        assert_eq!(verbose["status"], "healthy", "{verbose:#}");
        has(&verbose, &[("server", Text), ("claude", Object)]);
        let status = gateway.get("/tasks/status").await;
        has(&status, &[("active", Number), ("tasks", List)]);
    }
}

#[tokio::test]
async fn a_stream_holds_the_clis_own_objects_as_unnamed_events() {
    for place in everywhere().await {
        let gateway = place.gateway("text-only").await;

        let response = gateway.post("/run", &gateway.request("hello")).await;
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let events = gatehouse_tests::Stream::open(response).await.rest().await;

        assert!(kind.starts_with("text/event-stream"));
        let unnamed: Vec<Value> = events
            .iter()
            .filter(|event| event.name == "message")
            .map(Event::json)
            .collect();
        let types: BTreeSet<&str> = unnamed
            .iter()
            .filter_map(|event| event["type"].as_str())
            .collect();
        for expected in ["system", "assistant", "result"] {
            assert!(types.contains(expected), "{types:?}");
        }
        let result = unnamed
            .iter()
            .find(|event| event["type"] == "result")
            .unwrap();
        has(
            result,
            &[("result", Text), ("session_id", Text), ("is_error", Flag)],
        );
    }
}

#[tokio::test]
async fn an_accepted_task_its_record_and_its_report_have_the_fields_that_they_had() {
    for place in everywhere().await {
        let receiver = Receiver::start([]).await;
        let gateway = place.gateway("text-only").await;
        let more = json!({
            "callbackUrl": receiver.url, "taskId": "order-4711_a", "metadata": {"order": 4711},
            "preExecutionCommands": ["echo 1 > kept.txt"],
            "postExecutionActions": {"uploadFiles": {"globPatterns": ["*.txt"]}},
        });

        let request = gateway.request_with("hello", more);
        let (status, accepted) = answer(&gateway, "/run-async", &request).await;
        let delivery = receiver.delivery(1).await;

        assert_eq!((status, &accepted["taskId"]), (202, &json!("order-4711_a")));
        assert_eq!(accepted["status"], "pending");
        has(
            &accepted,
            &[
                ("logsPath", Text),
                ("createdAt", Time),
                ("executionName", Text),
            ],
        );
        let logs = accepted["logsPath"].as_str().unwrap();
        assert!(logs.ends_with("/sessions/order-4711_a/"), "{logs}");
        if let Place::Cloud(_) = place {
            assert_eq!(logs, "gs://logs/sessions/order-4711_a/");
        }

        let report = delivery.json();
        assert_eq!(report["metadata"], json!({"order": 4711}));
        assert_eq!(
            (&report["status"], &report["exitCode"]),
            (&json!("completed"), &json!(0))
        );
        assert_eq!(report["logsPath"], accepted["logsPath"]);
        has(
            &report["summary"],
            &[
                ("durationMs", Number),
                ("startedAt", Time),
                ("completedAt", Time),
            ],
        );
        let file = &report["uploadedFiles"][0];
        has(
            file,
            &[
                ("originalPath", Text),
                ("gcsPath", Text),
                ("sizeBytes", Number),
            ],
        );
        let timestamp = delivery.header("x-webhook-timestamp");
        let mut mac =
            Hmac::<Sha256>::new_from_slice(gateway.canaries.webhook_secret.as_bytes()).unwrap();
        mac.update(&[timestamp.as_bytes(), b".", &delivery.body].concat());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        assert_eq!(delivery.header("x-webhook-signature"), signature);
        assert!(
            delivery
                .header("user-agent")
                .starts_with("cloudrun-claude-code/async-task")
        );

        gateway.ended("order-4711_a").await;
        let record = place.object(&gateway, "sessions/order-4711_a/metadata.json");
        let record: Value = serde_json::from_slice(&record.unwrap()).unwrap();
        assert_eq!(record["status"], "completed");
        assert_eq!(record["callbackUrl"], receiver.url.as_str());
        assert_eq!(record["metadata"], json!({"order": 4711}));
        has(
            &record,
            &[
                ("taskId", Text),
                ("createdAt", Text),
                ("startedAt", Text),
                ("completedAt", Text),
                ("encryptedPayloadPath", Text),
            ],
        );
        let kept = place.object(&gateway, "files/order-4711_a/kept.txt");
        assert_eq!(kept.unwrap(), b"1\n");
        let log = place.object(&gateway, "sessions/order-4711_a/000000000001.jsonl");
        assert!(log.unwrap().ends_with(b"\n"));
    }
}

#[tokio::test]
async fn a_cancel_answers_and_reports_as_it_was_documented_to() {
    for place in everywhere().await {
        let receiver = Receiver::start([]).await;
        let gateway = place.gateway("loops-bash-sleep").await;
        let more = json!({"callbackUrl": receiver.url, "permissionMode": "bypassPermissions"});
        let id = gateway.run_async(&gateway.request_with("work", more)).await;
        eventually("it runs", || async {
            let record = gateway.get(&format!("/tasks/{id}")).await;
            (record["phase"] == "agent").then_some(())
        })
        .await;
        let status = gateway.get("/tasks/status").await;
        has(
            &status["tasks"][0],
            &[
                ("taskId", Text),
                ("type", Text),
                ("executionName", Text),
                ("startedAt", Time),
                ("cancelling", Flag),
            ],
        );

        let path = format!("/cancel/{id}");
        let (first, told) = answer(&gateway, &path, &json!({})).await;
        let (again, told_again) = answer(&gateway, &path, &json!({})).await;
        let report = receiver.delivery(1).await.json();

        let expected =
            json!({"message": "Task cancelled successfully", "taskId": id, "status": "cancelled"});
        assert_eq!((first, told), (200, expected));
        // Over already, or on its way there.
        assert_eq!(again, 200, "{told_again}");
        has(
            &told_again,
            &[("message", Text), ("taskId", Text), ("status", Text)],
        );
        assert_eq!(
            (&report["status"], &report["exitCode"]),
            (&json!("cancelled"), &json!(130))
        );
    }
}

#[tokio::test]
async fn clients_that_know_nothing_newer_work_unchanged() {
    for place in everywhere().await {
        let gateway = place.gateway("text-only").await;
        let receiver = Receiver::start([]).await;
        for (program, file) in [
            ("python3", "legacy.py"),
            ("node", "legacy.mjs"),
            ("bash", "legacy.sh"),
        ] {
            let ran = tokio::process::Command::new(program)
                .arg(repository().join("tests/legacy-clients").join(file))
                .args([&gateway.url, &receiver.url])
                .env("ANTHROPIC_API_KEY", &gateway.canaries.api_key)
                .env("CLOUDRUN_CALLBACK_SECRET", &gateway.canaries.webhook_secret)
                .output()
                .await
                .expect(program);

            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{file}: {said}");
            let told: Value = serde_json::from_slice(&ran.stdout).expect(file);
            assert!(
                told[0].as_str().is_some_and(|words| !words.is_empty()),
                "{told}"
            );
            if program == "bash" {
                // It has no receiver of its own.
                assert_eq!(receiver.delivery(1).await.json()["status"], "completed");
            } else {
                let end = (&told[1], &told[2]);
                assert_eq!(end, (&json!("completed"), &json!(0)), "{file}");
            }
        }
    }
}
