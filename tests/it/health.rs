//! What a load balancer and an operator ask.

use gatehouse_tests::{Gateway, on_cloud};
use serde_json::{Value, json};

#[tokio::test]
async fn health_is_a_word_and_in_detail_the_truth() {
    let gateway = Gateway::with().start().await;
    for path in ["/health", "/healthz"] {
        assert_eq!(
            gateway.try_get(path).await.unwrap().text().await.unwrap(),
            "ok"
        );
    }
    assert!(
        gateway
            .try_get("/")
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("Claude Code Agent is running")
    );

    let detail = gateway.get("/health?verbose=true").await;
    assert_eq!(detail["status"], "healthy");
    assert_eq!(detail["claude"]["cliAvailable"], true, "{detail:#}");
    let keys = if on_cloud() { "cloud-kms" } else { "local" };
    assert_eq!(detail["keys"], keys);
    let isolation = &detail["isolation"];
    if on_cloud() {
        // Each job proves its own.
        assert_eq!(isolation["level"], Value::Null, "{detail:#}");
    } else if nix::unistd::Uid::effective().is_root() {
        assert_eq!(isolation["level"], "uid", "{detail:#}");
        let passed = isolation["canary"]["passed"].as_u64().unwrap();
        assert!(passed >= 3, "{detail:#}");
        assert_eq!(isolation["canary"]["failed"], 0, "{detail:#}");
    } else {
        assert_eq!(isolation["level"], "none", "{detail:#}");
    }
    if !on_cloud() {
        assert_eq!(isolation["egress"], "open");
    }
    assert_eq!(gateway.try_get("/ready").await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_api_key_is_wanted_where_some_are_set_but_not_by_health() {
    let gateway = Gateway::with()
        .env("GATEHOUSE_API_KEYS", "first-key-of-the-team,second-key")
        .start()
        .await;
    assert_eq!(gateway.try_get("/health").await.unwrap().status(), 200);
    assert_eq!(
        gateway
            .post("/run", &gateway.request("hello"))
            .await
            .status(),
        401
    );

    let response = reqwest::Client::new()
        .post(format!("{}/run", gateway.url))
        .bearer_auth("second-key")
        .json(&gateway.request("hello"))
        .send()
        .await
        .unwrap();
    let events = gatehouse_tests::Stream::open(response).await.rest().await;
    assert_eq!(events.last().unwrap().json()["status"], json!("completed"));
}
