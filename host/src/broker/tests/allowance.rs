//! T05: what a task may ask for, by the operator's settings.

use super::client::exchange;
use super::*;
use crate::config;

fn ask(broker: &Broker, body: &str) -> String {
    let token = token(broker);
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A broker by changed settings, and the upstream behind it, which always answers `answer`.
async fn limited(answer: &str, change: impl FnOnce(&mut config::Broker)) -> (Broker, Stub) {
    let stub = Stub::start(vec![Step::Write(answer.into())]).await;
    let mut settings = settings(&stub.url());
    change(&mut settings);
    (start(settings).await, stub)
}

#[tokio::test]
async fn a_model_that_is_not_allowed_is_never_asked() {
    let (broker, stub) = limited(OK, |settings| {
        settings.allowed_models = vec!["claude-sonnet-*".to_owned(), "claude-haiku-4-5".to_owned()];
    })
    .await;
    for (body, passes) in [
        (r#"{"model":"claude-sonnet-5-5"}"#, true),
        (r#"{"model":"claude-haiku-4-5","max_tokens":7}"#, true),
        (r#"{"model":"claude-opus-5-5"}"#, false),
        (r#"{"model":"claude-haiku-4-5-large"}"#, false),
        (r#"{"messages":[]}"#, false),
        // A reader that takes the last of two must not be fooled by the first.
        (
            r#"{"model":"claude-sonnet-5-5","model":"claude-opus-5-5"}"#,
            false,
        ),
        ("no json", false),
    ] {
        let before = stub.seen().len();
        let answer = exchange(&broker, ask(&broker, body)).await;
        assert_eq!(
            answer.starts_with("HTTP/1.1 200"),
            passes,
            "{body}: {answer}"
        );
        assert_eq!(stub.seen().len() > before, passes, "{body}");
    }
    // What was read to be judged arrives to the byte.
    assert_eq!(stub.seen()[0].body, br#"{"model":"claude-sonnet-5-5"}"#);
}

#[tokio::test]
async fn more_tokens_than_a_request_may_ask_for_are_refused() {
    let (broker, stub) = limited(OK, |settings| settings.max_tokens_per_request = 1000).await;
    let answer = exchange(&broker, ask(&broker, r#"{"max_tokens":1000}"#)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = exchange(&broker, ask(&broker, r#"{"max_tokens":1001}"#)).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("proxy_max_tokens_denied"), "{answer}");
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn a_body_that_must_be_read_is_bounded_like_any_other() {
    let (broker, stub) = limited(OK, |settings| {
        settings.max_tokens_per_request = 1000;
        settings.max_body = 64;
    })
    .await;
    let long = format!(r#"{{"max_tokens":1,"x":"{}"}}"#, "y".repeat(100));
    let answer = exchange(&broker, ask(&broker, &long)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn a_task_that_has_spent_its_requests_or_tokens_gets_no_more() {
    let (broker, stub) = limited(OK, |settings| settings.max_requests = 2).await;
    for expected in ["200", "200", "403", "403"] {
        let answer = exchange(&broker, ask(&broker, "{}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{answer}"
        );
    }
    assert_eq!(stub.seen().len(), 2);

    let counted = r#"{"usage":{"input_tokens":1,"output_tokens":60}}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{counted}",
        counted.len()
    );
    let (broker, stub) = limited(&answer, |settings| settings.max_output_tokens = 100).await;
    for expected in ["200", "200", "403"] {
        let answer = exchange(&broker, ask(&broker, "{}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{answer}"
        );
    }
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn nothing_is_asked_any_more_once_the_answers_have_cost_the_budget() {
    let body = r#"{"model":"claude-haiku-4-5","usage":{"input_tokens":1000,"output_tokens":200}}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let stub = Stub::start(vec![Step::Write(answer.into())]).await;
    let key = Credential::ApiKey(SecretString::from(REAL_KEY));
    // An answer costs 0.002 dollars.
    let broker = Broker::start(&settings(&stub.url()), key, Some(0.0039))
        .await
        .unwrap();
    for expected in [200, 200, 403, 403] {
        let answer = exchange(&broker, ask(&broker, "{}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{answer}"
        );
        let spent = broker.spent_budget();
        assert_eq!(expected == 403, answer.contains("proxy_budget_spent"));
        assert!(
            spent.is_none_or(|cost| (cost - 0.004).abs() < 1e-9),
            "{spent:?}"
        );
    }
    assert!(broker.spent_budget().is_some());
}
