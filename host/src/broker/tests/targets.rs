//! T01 and T04: where a request goes.

use super::client::{error, exchange, status};
use super::stub::Stub;
use super::*;

// T01
#[tokio::test]
async fn a_target_that_names_another_host_reaches_nobody() {
    let (broker, stub) = pair().await;
    let elsewhere = Stub::start(vec![Step::Write(OK.into())]).await;
    let elsewhere_host = elsewhere.url().replace("http://", "");
    let long = format!("/{}", "a".repeat(64 * 1024));
    let targets = [
        format!("//{elsewhere_host}/v1/messages"),
        format!("///{elsewhere_host}/v1/messages"),
        format!("/\\{elsewhere_host}/v1/messages"),
        format!("\\\\{elsewhere_host}/v1/messages"),
        format!("http://{elsewhere_host}/v1/messages"),
        format!("https://{elsewhere_host}/v1/messages"),
        format!("https://api.anthropic.com@{elsewhere_host}/v1/messages"),
        format!("@{elsewhere_host}/v1/messages"),
        elsewhere_host.clone(),
        "/v1/%2e%2e/admin".to_owned(),
        "/v1/messages/../files".to_owned(),
        "/v1/./messages".to_owned(),
        "/v1//messages".to_owned(),
        "//v1/messages".to_owned(),
        "/v1/messages/".to_owned(),
        "/v1/messages;a=b".to_owned(),
        "/v1/messages#fragment".to_owned(),
        "/v1/messages?beta=true#fragment".to_owned(),
        "/v1/%6dessages".to_owned(),
        "/V1/messages".to_owned(),
        "/v1/messages%00".to_owned(),
        "/v1/messages%0d%0ahost:evil".to_owned(),
        "*".to_owned(),
        String::new(),
        long,
    ];
    for target in &targets {
        let answer = exchange(&broker, post(&broker, target, "")).await;
        let refused = [400, 403].contains(&status(&answer));
        assert!(refused, "{target:.80} was answered {answer:.200}");
        error(&answer);
    }
    assert!(stub.seen().is_empty() && elsewhere.raw().is_empty());
    assert_eq!(broker.usage()["refused"], targets.len());
}

// T01
#[tokio::test]
async fn the_host_header_does_not_choose_the_upstream() {
    let (broker, stub) = pair().await;
    let elsewhere = Stub::start(vec![Step::Write(OK.into())]).await;
    let host = elsewhere.url().replace("http://", "");
    let request = post(&broker, "/v1/messages", "").replace("localhost", &host);
    assert_eq!(status(&exchange(&broker, request).await), 200);
    assert_eq!(
        stub.only().values("host"),
        [stub.url().replace("http://", "")]
    );
    assert!(elsewhere.raw().is_empty());
}

// T04
#[tokio::test]
async fn the_two_paths_are_forwarded_with_their_query_and_body() {
    let (broker, stub) = pair().await;
    let targets = [
        "/v1/messages",
        "/v1/messages?beta=true",
        "/v1/messages/count_tokens",
        "/v1/messages/count_tokens?beta=true",
    ];
    for target in targets {
        let answer = exchange(&broker, post(&broker, target, "")).await;
        assert_eq!(status(&answer), 200);
        assert!(answer.ends_with("\r\n\r\n{}"));
    }
    let seen = stub.seen();
    let lines: Vec<_> = seen.iter().map(|seen| seen.line()).collect();
    let expected = targets.map(|target| format!("POST {target} HTTP/1.1"));
    assert_eq!(lines, expected);
    assert!(seen.iter().all(|seen| seen.body == b"{}"));
    assert_eq!(broker.usage()["requests"], 4);
}

// T04
#[tokio::test]
async fn other_paths_methods_and_queries_are_denied_by_name() {
    let (broker, stub) = pair().await;
    let requests = [
        ("POST", "/v1/files"),
        ("POST", "/v1/organizations/me"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/api/oauth/token"),
        ("POST", "/"),
        ("POST", "/v1/messages?beta=false"),
        ("POST", "/v1/messages?beta=true&x=1"),
        ("POST", "/v1/messages?"),
        ("POST", "/v1/messages?beta=true?beta=true"),
        ("GET", "/v1/messages"),
        ("HEAD", "/v1/messages"),
        ("DELETE", "/v1/messages"),
        ("OPTIONS", "/v1/messages"),
        ("TRACE", "/v1/messages"),
        ("BREW", "/v1/messages"),
        ("post", "/v1/messages"),
        ("GET", "/v1/models"),
    ];
    for (method, target) in requests {
        let request = post(&broker, target, "").replacen("POST", method, 1);
        let answer = exchange(&broker, request).await;
        assert_eq!(status(&answer), 403, "{method} {target}");
        if method != "HEAD" {
            let expected = (
                "permission_error".to_owned(),
                "proxy_path_denied".to_owned(),
            );
            assert_eq!(error(&answer), expected);
        }
    }
    assert!(stub.seen().is_empty());
}

// T04
#[tokio::test]
async fn a_probe_is_answered_here_and_goes_nowhere() {
    let (broker, stub) = pair().await;
    for target in ["/", "/api/hello"] {
        let request = format!("HEAD {target} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let answer = exchange(&broker, request).await;
        assert_eq!(status(&answer), 200);
        assert!(answer.ends_with("\r\n\r\n"));
    }
    assert!(stub.raw().is_empty());
}

#[tokio::test]
async fn an_operators_extra_path_is_forwarded_and_the_upstreams_own_path_stands_before_it() {
    let stub = Stub::start(vec![Step::Write(OK.into())]).await;
    let mut settings = settings(&format!("{}/gateway/", stub.url()));
    settings.extra_paths = vec!["/v1/files".to_owned()];
    let broker = start(settings).await;
    assert_eq!(
        status(&exchange(&broker, post(&broker, "/v1/files", "")).await),
        200
    );
    assert_eq!(stub.only().line(), "POST /gateway/v1/files HTTP/1.1");
}
