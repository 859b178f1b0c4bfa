//! Keys in Cloud KMS, secrets and system prompts in Secret Manager; everything else on this machine.

use std::process::Output;
use std::time::Duration;

use base64::Engine as _;
use fake_google::{FakeGoogle, Fault, VersionState};
use gatehouse_tests::gateway::Builder;
use gatehouse_tests::receiver::Delivery;
use gatehouse_tests::{Gateway, Receiver, binary, eventually, words_of};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::process::Command;

const KEY: &str = "projects/p-1/locations/europe-west1/keyRings/cloudrun-claude-code-keys/cryptoKeys/async-task-payload-key";

/// A gateway whose keys are there.
fn with_cloud_keys(google: &FakeGoogle) -> Builder {
    with_google(google)
        .env("REGION", "europe-west1")
        .env("GATEHOUSE__ENVELOPE__KEYS", "cloud-kms")
}

fn with_google(google: &FakeGoogle) -> Builder {
    Gateway::with()
        .env("PROJECT_ID", "p-1")
        .env("GATEHOUSE__GOOGLE__ENDPOINT", &google.url())
        .env("GATEHOUSE__GOOGLE__SECRETS_AGE", "100ms")
}

fn sealed(gateway: &Gateway, id: &str) -> String {
    let path = gateway.data().join("bucket/tasks").join(id);
    let bytes = std::fs::read(path.join("payload.enc")).expect("it is sealed");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_signed(delivery: &Delivery, secret: &str) -> bool {
    let id = delivery.header("webhook-id").as_bytes();
    let at = delivery.header("webhook-timestamp").as_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(&[id, b".", at, b".", &delivery.body].concat());
    let expected = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    delivery.header("webhook-signature") == format!("v1,{expected}")
}

/// A command without a gateway, which ends by itself.
async fn ends(google: &FakeGoogle, command: &str, settings: &[(&str, &str)]) -> Output {
    let data = tempfile::tempdir().unwrap();
    let running = Command::new(binary())
        .arg(command)
        .current_dir(data.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GATEHOUSE_DATA_DIR", data.path().join("data"))
        .env("GATEHOUSE_LISTEN", "127.0.0.1:0")
        .env("PROJECT_ID", "p-1")
        .env("GATEHOUSE__GOOGLE__ENDPOINT", google.url())
        .envs(settings.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(100), running).await;
    output.expect("it ends").unwrap()
}

#[tokio::test]
async fn a_task_costs_one_encryption_and_one_decryption_and_its_payload_names_the_version() {
    let google = FakeGoogle::start().await.unwrap();
    let gateway = with_cloud_keys(&google).scenario("slow").start().await;
    let health = gateway.get("/health?verbose=true").await;
    assert_eq!(health["keys"], "cloud-kms");

    let request = gateway.request_with("slow", json!({"maxTurns": 50}));
    let mut stream = gateway.run(&request).await;
    stream.until(|event| event.id.is_some()).await;
    let kid = format!("\"kid\":\"{KEY}/cryptoKeyVersions/1\"");
    assert!(sealed(&gateway, &stream.task_id).contains(&kid));
    let events = stream.rest().await;

    let report = events.last().unwrap().json();
    assert_eq!(report["status"], "completed", "{report:#}");
    gateway.is_clean().await;
    let asked: Vec<_> = google
        .requests()
        .into_iter()
        .map(|request| request.operation)
        .collect();
    assert_eq!(asked, ["kms.encrypt", "kms.decrypt"]);
    assert!(!gateway.data().join("keys/local.key").exists());
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn what_waits_opens_after_a_rotation_and_fails_clearly_when_its_version_is_disabled() {
    let google = FakeGoogle::start().await.unwrap();
    let receiver = Receiver::start([]).await;
    let gateway = with_cloud_keys(&google)
        .scenario("hang")
        .env("MAX_CONCURRENT_TASKS", "1")
        .start()
        .await;
    let request = gateway.request_with("hang", json!({"callbackUrl": receiver.url}));
    let running = gateway.run_async(&request).await;
    eventually("the first one is opened", || async {
        (google.count("kms.decrypt") == 1).then_some(())
    })
    .await;
    let of_the_old = gateway.run_async(&request).await;
    assert_eq!(google.rotate_key(KEY), 2);
    let of_the_new = gateway.run_async(&request).await;
    google.set_key_version(KEY, 1, VersionState::Disabled);
    let kid = format!("{KEY}/cryptoKeyVersions/2");
    assert!(sealed(&gateway, &of_the_new).contains(&kid));

    gateway
        .post(&format!("/cancel/{running}"), &json!({}))
        .await;
    let failed = gateway.ended(&of_the_old).await;
    assert_eq!(failed["status"], "failed", "{failed:#}");
    let told = failed.to_string();
    assert!(
        !told.contains("cryptoKey") && !told.contains("p-1"),
        "{told}"
    );
    eventually("the third one is opened", || async {
        (google.count("kms.decrypt") == 3).then_some(())
    })
    .await;
    gateway
        .post(&format!("/cancel/{of_the_new}"), &json!({}))
        .await;
    gateway.ended(&of_the_new).await;
    gateway.is_clean().await;
}

#[tokio::test]
async fn without_the_key_service_nothing_is_taken_and_nothing_stored() {
    let google = FakeGoogle::start().await.unwrap();
    let receiver = Receiver::start([]).await;
    let gateway = with_cloud_keys(&google).start().await;
    google.every("kms.", 1, Fault::Status(503));

    let request = gateway.request_with("hello", json!({"callbackUrl": receiver.url}));
    let refused = gateway.post("/run-async", &request).await;
    assert_eq!(refused.status(), 503);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["code"], "keys-unavailable", "{refused}");
    assert!(!refused.to_string().contains("p-1"), "{refused}");
    assert_eq!(google.count("kms.encrypt"), 5);
    assert_eq!(gateway.get("/tasks").await["tasks"], json!([]));
    let stored = std::fs::read_dir(gateway.data().join("bucket/tasks"));
    assert_eq!(stored.into_iter().flatten().count(), 0);
    assert!(gateway.log().contains(KEY), "the log names the key");

    google.heal();
    let (report, _) = gateway.ends(&gateway.request("hello")).await;
    assert_eq!(report["status"], "completed", "{report:#}");
}

#[tokio::test]
async fn a_task_that_cannot_be_opened_ends_and_its_caller_is_told() {
    let google = FakeGoogle::start().await.unwrap();
    let receiver = Receiver::start([]).await;
    let gateway = with_cloud_keys(&google).start().await;
    google.every("kms.decrypt", 1, Fault::Status(503));

    let request = gateway.request_with("hello", json!({"callbackUrl": receiver.url}));
    let id = gateway.run_async(&request).await;
    let record = gateway.ended(&id).await;
    assert_eq!(
        (&record["status"], &record["reason"]),
        (&json!("failed"), &json!("internal")),
        "{record:#}"
    );
    let report = receiver.delivery(1).await.json();
    assert_eq!(report["taskId"], id.as_str());
    assert_eq!(report["status"], "failed");
    assert!(!report.to_string().contains("cryptoKey"), "{report}");
    assert_eq!(google.count("kms.decrypt"), 5);
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn keys_of_callers_and_of_webhooks_stand_in_secret_manager_and_change_without_a_restart() {
    let google = FakeGoogle::start().await.unwrap();
    let receiver = Receiver::start([]).await;
    let canary = |what: &str| format!("canary-{what}-{}", uuid::Uuid::new_v4().simple());
    let [first, second, operators, hook, next_hook] =
        ["first", "second", "operator", "hook", "next-hook"].map(canary);
    google.add_secret("projects/p-1/secrets/callers", &first);
    google.add_secret("projects/p-1/secrets/operator", format!("{operators}\n"));
    google.add_secret("projects/p-2/secrets/hook", &hook);
    let mut builder = with_google(&google)
        .env("GATEHOUSE_API_KEYS", "secret://callers")
        .env("GATEHOUSE_ADMIN_KEY", "secret://operator/1")
        .env(
            "CLOUDRUN_CALLBACK_SECRET",
            "secret://projects/p-2/secrets/hook/versions/latest",
        )
        .env("LOG_LEVEL", "trace");
    for secret in [&first, &second, &operators, &hook, &next_hook] {
        builder = builder.canary(secret);
    }
    let gateway = builder.start().await;
    let client = reqwest::Client::new();
    let listed = async |key: &str| {
        let asked = client
            .get(format!("{}/tasks", gateway.url))
            .bearer_auth(key);
        asked.send().await.unwrap().status().as_u16()
    };
    let request = gateway.request_with("hello", json!({"callbackUrl": receiver.url}));
    let begun = async |key: &str| {
        let asked = client.post(format!("{}/run-async", gateway.url));
        let asked = asked.bearer_auth(key).json(&request);
        asked.send().await.unwrap().status().as_u16()
    };

    assert_eq!(listed("secret://callers").await, 401);
    assert_eq!(listed(&second).await, 401);
    assert_eq!(listed(&operators).await, 200);
    assert_eq!(begun(&first).await, 202);
    let delivery = receiver.delivery(1).await;
    assert!(is_signed(&delivery, &hook) && !is_signed(&delivery, &next_hook));

    google.add_secret("projects/p-2/secrets/hook", &next_hook);
    google.add_secret("projects/p-1/secrets/callers", &second);
    eventually("the new key counts", || async {
        (listed(&second).await == 200).then_some(())
    })
    .await;
    assert_eq!(listed(&first).await, 401);
    eventually("a report is signed with the new secret", || async {
        let before = receiver.deliveries().len();
        assert_eq!(begun(&second).await, 202);
        let delivery = receiver.delivery(before + 1).await;
        is_signed(&delivery, &next_hook).then_some(())
    })
    .await;

    let asked = Command::new(binary())
        .args(["plugin", "list", "--url", &gateway.url])
        .env_clear()
        .env("PROJECT_ID", "p-1")
        .env("GATEHOUSE__GOOGLE__ENDPOINT", google.url())
        .env("GATEHOUSE_ADMIN_KEY", "secret://operator")
        .current_dir(gateway.data())
        .output()
        .await
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_gateway_that_cannot_read_its_secrets_does_not_start_and_lists_them_all() {
    let google = FakeGoogle::start().await.unwrap();
    let secrets = [
        ("GATEHOUSE_API_KEYS", "secret://callers"),
        ("CLOUDRUN_CALLBACK_SECRET", "secret://hook/3"),
    ];
    let output = ends(&google, "serve", &secrets).await;

    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    for expected in [
        "`auth.api_keys`: projects/p-1/secrets/callers/versions/latest",
        "`webhook.secret`: projects/p-1/secrets/hook/versions/3",
        "make the secret",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    assert!(
        !String::from_utf8(output.stdout)
            .unwrap()
            .contains("listening")
    );
}

#[tokio::test]
async fn the_doctor_says_what_google_refuses() {
    let google = FakeGoogle::start().await.unwrap();
    google.add_secret("projects/p-1/secrets/callers", "a-key");
    google.every("kms.", 1, Fault::Status(403));
    let settings = [
        ("REGION", "europe-west1"),
        ("GATEHOUSE__ENVELOPE__KEYS", "cloud-kms"),
        ("GATEHOUSE_API_KEYS", "secret://callers"),
        ("GATEHOUSE__TASK__SYSTEM_PROMPT_FILE", "secret://prompt"),
    ];
    let output = ends(&google, "doctor", &settings).await;
    let said = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "roles/cloudkms.cryptoKeyEncrypter",
        "projects/p-1/secrets/prompt/versions/latest",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    assert!(
        !said.contains("secrets/callers") && !said.contains("a-key"),
        "{said}"
    );
}

#[tokio::test]
async fn a_prompt_in_secret_manager_is_wanted_and_a_new_version_counts_for_the_next_task() {
    const PROMPT: &str = "projects/p-1/secrets/prompt";
    let google = FakeGoogle::start().await.unwrap();
    let gateway = with_google(&google)
        .env("GATEHOUSE__TASK__SYSTEM_PROMPT_FILE", "secret://prompt")
        .start()
        .await;
    let request = gateway.request("hello");
    let refused = gateway.refused(&request).await;
    assert_eq!(
        (&refused["status"], &refused["code"]),
        (&json!(503), &json!("system-prompt-unavailable")),
        "{refused}"
    );
    assert!(!refused.to_string().contains("p-1"), "{refused}");

    for words in ["OPERATORS-FIRST", "OPERATORS-SECOND"] {
        google.add_secret(PROMPT, words);
        eventually("the prompt counts", || async {
            let before = gateway.model_requests().len();
            if gateway.post("/run", &request).await.text().await.is_err() {
                return None;
            }
            let asked = gateway.model_requests();
            words_of(&asked.get(before)?.body)
                .contains(words)
                .then_some(())
        })
        .await;
    }
    gateway.is_clean().await;
}
