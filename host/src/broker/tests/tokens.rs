//! T02: who is let in.

use super::client::{Client, error, exchange, status};
use super::*;

// T02
#[tokio::test]
async fn a_request_without_this_tasks_token_is_refused_and_told_nothing() {
    let (mine, stub) = pair().await;
    let other = broker(&stub).await;
    assert_ne!(token(&mine), token(&other));
    let prefix = &token(&mine)[..token(&mine).len() - 1];
    let credentials = [
        String::new(),
        format!("x-api-key: {}\r\n", token(&other)),
        format!("x-api-key: {REAL_KEY}\r\n"),
        format!("x-api-key: {prefix}\r\n"),
        format!("x-api-key: {}0\r\n", token(&mine)),
        "x-api-key: \r\n".to_owned(),
        format!("authorization: {}\r\n", token(&mine)),
        format!("authorization: Basic {}\r\n", token(&mine)),
        format!("cookie: x-api-key={}\r\n", token(&mine)),
    ];
    let mut bodies = Vec::new();
    for target in ["/v1/messages", "/v1/files", "/anything"] {
        for credential in &credentials {
            let request = format!(
                "POST {target} HTTP/1.1\r\nhost: localhost\r\n{credential}content-length: 2\r\n\r\n{{}}"
            );
            let answer = exchange(&mine, request).await;
            assert_eq!(status(&answer), 401, "{credential}");
            assert_eq!(error(&answer).0, "authentication_error");
            bodies.push(answer.split_once("\r\n\r\n").unwrap().1.to_owned());
        }
    }
    // The same words whatever was asked for: neither paths nor upstream can be found out.
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    assert!(!bodies[0].contains(&stub.url()) && !bodies[0].contains("sk-ant"));
    assert!(stub.raw().is_empty());
}

// T02
#[tokio::test]
async fn the_token_is_accepted_in_both_forms_and_has_256_random_bits() {
    let (broker, stub) = pair().await;
    let secret = token(&broker).to_owned();
    let hex = secret.strip_prefix("sk-ant-gatehouse-").unwrap();
    assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    for header in [
        format!("x-api-key: {secret}"),
        format!("Authorization: Bearer {secret}"),
        format!("authorization: bearer {secret}"),
    ] {
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n{header}\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        assert_eq!(status(&exchange(&broker, request).await), 200);
    }
    assert!(!String::from_utf8_lossy(&stub.raw()).contains(&secret));
    assert!(!format!("{broker:?}").contains(hex));
}

// T02
#[tokio::test]
async fn the_token_dies_with_the_broker() {
    let stub = Stub::start(vec![Step::Hang]).await;
    let broker = broker(&stub).await;
    let address = broker.address;
    let running = Client::send(&broker, post(&broker, "/v1/messages", "")).await;
    stub.arrival().await;
    broker.shutdown().await;
    stub.departure().await;
    assert_eq!(running.rest().await, "");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_dropped_broker_ends_its_requests() {
    let stub = Stub::start(vec![Step::Hang]).await;
    let broker = broker(&stub).await;
    let running = Client::send(&broker, post(&broker, "/v1/messages", "")).await;
    stub.arrival().await;
    drop(broker);
    stub.departure().await;
    assert_eq!(running.rest().await, "");
}

#[tokio::test]
async fn the_agents_environment_names_the_broker_and_holds_no_credential() {
    let stub = Stub::start(vec![]).await;
    for (credential, variable) in [
        (Credential::ApiKey(REAL_KEY.into()), "ANTHROPIC_API_KEY"),
        (
            Credential::OAuth(REAL_KEY.into()),
            "CLAUDE_CODE_OAUTH_TOKEN",
        ),
    ] {
        let broker = Broker::start(&settings(&stub.url()), credential, None)
            .await
            .unwrap();
        let expected = [
            (
                "ANTHROPIC_BASE_URL".to_owned(),
                format!("http://{}", broker.address),
            ),
            (variable.to_owned(), token(&broker).to_owned()),
        ];
        assert_eq!(broker.environment(), expected);
        assert!(broker.address.ip().is_loopback());
    }
}

#[tokio::test]
async fn a_credential_that_no_header_can_carry_is_refused_at_start() {
    let key = Credential::ApiKey(SecretString::from("sk-ant\r\nx-evil: 1"));
    let failed = Broker::start(&settings("http://127.0.0.1:9"), key, None).await;
    let message = failed.unwrap_err().to_string();
    assert!(!message.contains("evil"));
}
