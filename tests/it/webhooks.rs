//! Reports: what they hold, how they are signed, and that none is lost.

use base64::Engine as _;
use gatehouse_tests::{Gateway, Receiver};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

fn hmac(key: &str, message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[tokio::test]
async fn a_report_bears_both_families_of_signatures_over_the_same_bytes() {
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with().start().await;
    let metadata = json!({"b": 1.0, "2": "x", "1": [1e21, 0.1, -0.0], "text": "é\u{2028}"});
    let request = gateway.request_with(
        "hello",
        json!({"callbackUrl": receiver.url, "metadata": metadata}),
    );

    let id = gateway.run_async(&request).await;
    let delivery = receiver.delivery(1).await;

    let secret = &gateway.canaries.webhook_secret;
    let timestamp = delivery.header("x-webhook-timestamp").to_owned();
    let signed = [timestamp.as_bytes(), b".", &delivery.body].concat();
    assert_eq!(
        delivery.header("x-webhook-signature"),
        format!("sha256={}", hex::encode(hmac(secret, &signed)))
    );
    let signed = [
        delivery.header("webhook-id").as_bytes(),
        b".",
        timestamp.as_bytes(),
        b".",
        &delivery.body,
    ]
    .concat();
    let expected = format!(
        "v1,{}",
        base64::engine::general_purpose::STANDARD.encode(hmac(secret, &signed))
    );
    assert_eq!(delivery.header("webhook-signature"), expected);
    assert_eq!(delivery.header("webhook-timestamp"), timestamp);

    let report = delivery.json();
    assert_eq!(report["taskId"], id.as_str());
    assert_eq!(
        (&report["status"], &report["exitCode"]),
        (&json!("completed"), &json!(0))
    );
    assert!(
        report["logsPath"]
            .as_str()
            .unwrap()
            .ends_with(&format!("sessions/{id}/"))
    );
    assert!(report["summary"]["durationMs"].as_u64().is_some());
    // The body is what JSON.stringify(JSON.parse(body)) gives: documented receivers verify that.
    let node = std::process::Command::new("node")
        .args(["-e", "const b=require('fs').readFileSync(0,'utf8');process.exit(JSON.stringify(JSON.parse(b))===b?0:1)"])
        .stdin(std::process::Stdio::piped())
        .spawn();
    let mut node = node.expect("node is installed with npm");
    std::io::Write::write_all(&mut node.stdin.take().unwrap(), &delivery.body).unwrap();
    assert!(
        node.wait().unwrap().success(),
        "{}",
        String::from_utf8_lossy(&delivery.body)
    );
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_with_the_same_id_and_a_new_time() {
    let receiver = Receiver::start([500, 302, 503]).await;
    let gateway = Gateway::with()
        .env(
            "GATEHOUSE__WEBHOOK__RETRY",
            "0s, 100ms, 100ms, 100ms, 100ms",
        )
        .start()
        .await;
    gateway
        .run_async(&gateway.request_with("hello", json!({"callbackUrl": receiver.url})))
        .await;

    let last = receiver.delivery(4).await;

    let deliveries = receiver.deliveries();
    assert!(
        deliveries
            .iter()
            .all(|delivery| delivery.header("webhook-id") == last.header("webhook-id"))
    );
    assert!(deliveries.iter().all(|delivery| delivery.body == last.body));
    assert_eq!(deliveries.len(), 4);
}

#[tokio::test]
async fn a_report_that_was_due_when_the_gateway_was_killed_is_sent_by_the_next() {
    let receiver = Receiver::start([503]).await;
    let mut gateway = Gateway::with()
        .env("GATEHOUSE__WEBHOOK__RETRY", "0s, 1s, 1s")
        .start()
        .await;
    let id = gateway
        .run_async(&gateway.request_with("hello", json!({"callbackUrl": receiver.url})))
        .await;
    receiver.delivery(1).await;

    gateway.kill().await;
    gateway.start_again().await;

    let again = receiver.delivery(2).await;
    assert_eq!(again.json()["taskId"], id.as_str());
    assert_eq!(
        again.header("webhook-id"),
        receiver.deliveries()[0].header("webhook-id")
    );
}

#[tokio::test]
async fn a_callback_into_a_private_network_is_refused_at_admission() {
    let gateway = Gateway::with()
        .env("GATEHOUSE__OUTBOUND__PRIVATE_ADDRESSES", "deny")
        .start()
        .await;
    for url in [
        "http://127.0.0.1:1/x",
        "http://169.254.169.254/",
        "http://[::1]/",
        "http://2130706433/",
        "http://10.0.0.1/",
    ] {
        let response = gateway
            .post(
                "/run-async",
                &gateway.request_with("hello", json!({"callbackUrl": url})),
            )
            .await;
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body["field"], "callbackUrl", "{url}: {body}");
        assert_eq!(body["code"], "callback-forbidden", "{url}: {body}");
    }
}
