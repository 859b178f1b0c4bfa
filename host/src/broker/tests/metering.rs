//! What is counted.

use serde_json::{Value, json};

use super::client::{Client, exchange};
use super::*;

async fn usage_of(kind: &str, body: &str) -> Value {
    let bytes = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let stub = Stub::start(vec![Step::Write(bytes.into())]).await;
    let broker = broker(&stub).await;
    let answer = exchange(&broker, post(&broker, "/v1/messages", "")).await;
    assert!(answer.ends_with(body), "the answer is not changed");
    broker.usage()
}

fn counts(input: u64, output: u64, cache_read: u64, cache_creation: u64) -> Value {
    json!({
        "requests": 1, "inputTokens": input, "outputTokens": output,
        "cacheReadInputTokens": cache_read, "cacheCreationInputTokens": cache_creation, "refused": 0,
    })
}

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":100,\"cache_creation_input_tokens\":20,\"cache_read_input_tokens\":30,\"output_tokens\":1}}}\n\n";
const TEXT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"{\\\"type\\\":\\\"message_delta\\\",\\\"usage\\\":{\\\"output_tokens\\\":999}}\"}}\n\n";
const DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":40,\"input_tokens\":null}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

#[tokio::test]
async fn a_streams_counts_are_read_from_its_first_and_last_events() {
    let body = format!("{START}{TEXT}{DELTA}{DELTA}{STOP}");
    let usage = usage_of("text/event-stream; charset=utf-8", &body).await;
    assert_eq!(usage, counts(100, 40, 30, 20));
}

#[tokio::test]
async fn a_stream_in_single_bytes_with_a_line_too_long_is_counted_all_the_same() {
    let long = format!("data: {}\n\n", "x".repeat(200 * 1024));
    let body = format!("{START}{long}{DELTA}");
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks: String = body
        .chars()
        .map(|byte| format!("1\r\n{byte}\r\n"))
        .collect();
    let bytes = format!("{head}{chunks}0\r\n\r\n");
    let stub = Stub::start(vec![Step::Write(bytes.into())]).await;
    let broker = broker(&stub).await;
    exchange(&broker, post(&broker, "/v1/messages", "")).await;
    assert_eq!(broker.usage(), counts(100, 40, 30, 20));
}

#[tokio::test]
async fn a_whole_answers_usage_is_read_and_a_count_of_tokens_is_none() {
    let answer = r#"{"type":"message","content":[],"usage":{"input_tokens":7,"output_tokens":8}}"#;
    assert_eq!(
        usage_of("application/json", answer).await,
        counts(7, 8, 0, 0)
    );
    let answer = r#"{"input_tokens":7}"#;
    assert_eq!(
        usage_of("application/json", answer).await,
        counts(0, 0, 0, 0)
    );
    assert_eq!(usage_of("text/plain", "usage").await, counts(0, 0, 0, 0));
}

#[tokio::test]
async fn what_a_broken_off_stream_had_used_stays_counted() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let stub = Stub::start(vec![
        Step::Write(format!("{head}{START}").into()),
        Step::Hang,
    ])
    .await;
    let broker = broker(&stub).await;
    let mut client = Client::send(&broker, post(&broker, "/v1/messages", "")).await;
    client.until("message_start").await;
    drop(client);
    stub.departure().await;
    assert_eq!(broker.usage(), counts(100, 1, 30, 20));
}
