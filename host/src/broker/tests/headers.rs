//! T06: which headers cross.

use super::client::{exchange, status};
use super::*;

const NOISE: &str = "authorization: Bearer sk-ant-api03-the-agents-own\r\n\
    x-api-key: sk-ant-api03-the-agents-own\r\n\
    cookie: session=1\r\n\
    x-forwarded-for: 10.0.0.1\r\n\
    x-forwarded-host: evil\r\n\
    x-real-ip: 10.0.0.1\r\n\
    forwarded: for=10.0.0.1\r\n\
    via: 1.1 evil\r\n\
    proxy-authorization: Basic eDp5\r\n\
    proxy-connection: keep-alive\r\n\
    proxy-anything: 1\r\n\
    te: trailers\r\n\
    keep-alive: timeout=5\r\n\
    connection: x-named, X-Api-Key, close\r\n\
    x-named: 1\r\n\
    accept-encoding: gzip, br\r\n";

const PASSED: &str = "anthropic-version: 2023-06-01\r\n\
    anthropic-beta: a,b\r\n\
    user-agent: claude-cli/2.1.330 (external, sdk-cli)\r\n\
    x-app: cli\r\n\
    content-type: application/json\r\n";

// T06
#[tokio::test]
async fn every_credential_of_the_client_is_dropped_and_exactly_one_is_set() {
    let (broker, stub) = pair().await;
    let request = post(&broker, "/v1/messages", &format!("{NOISE}{PASSED}"));
    assert_eq!(status(&exchange(&broker, request).await), 200);
    let seen = stub.only();
    assert_eq!(seen.values("x-api-key"), [REAL_KEY]);
    assert_eq!(seen.values("accept-encoding"), ["identity"]);
    assert_eq!(seen.values("content-length"), ["2"]);
    for line in PASSED.lines() {
        let (name, value) = line.trim().split_once(": ").unwrap();
        assert_eq!(seen.values(name), [value]);
    }
    let mut names: Vec<_> = seen
        .head
        .lines()
        .skip(1)
        .map(|line| line.split(':').next().unwrap())
        .collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "accept-encoding",
        "anthropic-beta",
        "anthropic-version",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-api-key",
        "x-app",
    ];
    assert_eq!(names, expected);
}

// T06
#[tokio::test]
async fn an_oauth_token_is_sent_as_a_bearer_and_nothing_else() {
    let stub = Stub::start(vec![Step::Write(OK.into())]).await;
    let credential = Credential::OAuth(SecretString::from(REAL_KEY));
    let broker = Broker::start(&settings(&stub.url()), credential, None)
        .await
        .unwrap();
    let request = post(&broker, "/v1/messages", NOISE);
    assert_eq!(status(&exchange(&broker, request).await), 200);
    let seen = stub.only();
    assert_eq!(seen.values("authorization"), [format!("Bearer {REAL_KEY}")]);
    assert!(seen.values("x-api-key").is_empty());
}

// T06
#[tokio::test]
async fn an_answer_loses_its_cookies_and_what_speaks_of_the_connection() {
    let answer = "HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nset-cookie: c=d\r\nset-cookie2: e\r\n\
        keep-alive: timeout=5\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\ntrailer: x\r\n\
        connection: x-named\r\nx-named: 1\r\nlocation: http://evil/\r\n\
        request-id: req_1\r\nanthropic-ratelimit-requests-remaining: 7\r\ncontent-length: 2\r\n\r\n{}";
    let stub = Stub::start(vec![Step::Write(answer.into())]).await;
    let broker = broker(&stub).await;
    let answer = exchange(&broker, post(&broker, "/v1/messages", "")).await;
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let mut names: Vec<_> = head
        .lines()
        .skip(1)
        .map(|line| line.split(':').next().unwrap())
        .collect();
    names.sort_unstable();
    let expected = [
        "anthropic-ratelimit-requests-remaining",
        "connection",
        "content-length",
        "date",
        "request-id",
    ];
    assert_eq!(names, expected);
    assert!(head.contains("connection: close"));
}
