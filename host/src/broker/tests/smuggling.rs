//! T03: requests about which two parsers might disagree.

use super::client::{Client, error, exchange, status};
use super::*;

/// `{token}` stands for the token; each is refused before anything is forwarded.
const REFUSED: [(&str, &str); 35] = [
    (
        "length and chunked",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked and length",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    ),
    (
        "the same length twice",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "a list of lengths",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length: 2, 2\r\n\r\n{}",
    ),
    (
        "a signed length",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length: +2\r\n\r\n{}",
    ),
    (
        "a negative length",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length: -2\r\n\r\n{}",
    ),
    (
        "an empty length",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length:\r\n\r\n{}",
    ),
    (
        "a huge length",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length: 99999999999999999999\r\n\r\n{}",
    ),
    (
        "a length in hex",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length: 0x2\r\n\r\n{}",
    ),
    (
        "xchunked",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked, identity",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "gzip, chunked",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "two encodings",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a vertical tab before chunked",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a space before the colon",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a folded line",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\nx-a: b\r\n c\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "a line folded by a tab",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ntransfer-encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a folded first line",
        "POST /v1/messages HTTP/1.1\r\n host: a\r\nx-api-key: {token}\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "bare LF",
        "POST /v1/messages HTTP/1.1\nhost: a\nx-api-key: {token}\ncontent-length: 2\n\n{}",
    ),
    (
        "one bare LF",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\nx-a: b\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "a bare CR",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\nx-a: b\rcontent-length: 3\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "NUL in a value",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\nx-a: b\0c\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "NUL in a name",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\nx\0a: b\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "no name",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\n: b\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "no colon",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\nnothing\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "no host",
        "POST /v1/messages HTTP/1.1\r\nx-api-key: {token}\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "two hosts",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nhost: b\r\nx-api-key: {token}\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "an upgrade",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "h2c",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\ncontent-length: 2\r\n\r\n{}",
    ),
    ("HTTP/2 at once", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (
        "CONNECT",
        "CONNECT api.anthropic.com:443 HTTP/1.1\r\nhost: api.anthropic.com\r\nx-api-key: {token}\r\n\r\n",
    ),
    (
        "HTTP/1.0",
        "POST /v1/messages HTTP/1.0\r\nhost: a\r\nx-api-key: {token}\r\ncontent-length: 2\r\n\r\n{}",
    ),
    ("HTTP/0.9", "GET /v1/messages\r\n"),
    (
        "an expectation",
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
    ),
];

// T03
#[tokio::test]
async fn an_ambiguous_head_is_refused_and_nothing_is_forwarded() {
    let (broker, stub) = pair().await;
    for (name, request) in REFUSED {
        let request = request.replace("{token}", token(&broker));
        let answer = exchange(&broker, request).await;
        assert_eq!(status(&answer), 400, "{name}: {answer}");
        assert_eq!(error(&answer).0, "invalid_request_error", "{name}");
        assert_eq!(answer.matches("HTTP/1.1 4").count(), 1, "{name}");
    }
    assert!(stub.raw().is_empty());
}

// T03
#[tokio::test]
async fn what_follows_a_request_is_not_taken_for_another_one() {
    let (broker, stub) = pair().await;
    let twice = post(&broker, "/v1/messages", "").repeat(2);
    let answer = exchange(&broker, twice).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    assert_eq!(stub.only().body, b"{}");
}

fn chunked(broker: &Broker, body: &str) -> String {
    let token = token(broker);
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {token}\r\ntransfer-encoding: chunked\r\n\r\n{body}"
    )
}

// T03
#[tokio::test]
async fn a_trailer_is_not_forwarded() {
    let (broker, stub) = pair().await;
    let body = "2\r\n{}\r\n0\r\nx-api-key: smuggled\r\n\r\n";
    assert_eq!(
        status(&exchange(&broker, chunked(&broker, body)).await),
        200
    );
    let raw = String::from_utf8(stub.raw()).unwrap();
    assert!(raw.ends_with("\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), "{raw}");
    assert!(!raw.contains("smuggled"));
}

// T03
#[tokio::test]
async fn a_chunk_that_is_no_chunk_breaks_the_request_off() {
    let (broker, stub) = pair().await;
    let extension = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(1024 * 1024));
    for body in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "2\n{}\n0\n\n",
        "2\r\n{}xx0\r\n\r\n",
        "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        &extension,
    ] {
        let answer = exchange(&broker, chunked(&broker, body)).await;
        assert_eq!(status(&answer), 400, "{body:.20}: {answer}");
    }
    assert!(stub.seen().is_empty(), "no whole request arrived");
}

// T03
#[tokio::test]
async fn a_head_without_end_or_with_too_many_lines_is_refused() {
    let (broker, stub) = pair().await;
    let many = post(&broker, "/v1/messages", &"x-a: b\r\n".repeat(101));
    let long = post(
        &broker,
        "/v1/messages",
        &format!("x-a: {}\r\n", "b".repeat(40_000)),
    );
    for request in [many, long] {
        let answer = exchange(&broker, request).await;
        assert_eq!(status(&answer), 400);
        assert_eq!(error(&answer).1, "proxy_head_too_large");
    }
    assert!(stub.raw().is_empty());
}

// T03
#[tokio::test]
async fn a_client_that_sends_its_head_too_slowly_is_left() {
    let (broker, stub) = pair().await;
    let client = Client::send(&broker, "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-a: ").await;
    assert_eq!(client.rest().await, "");
    assert!(stub.raw().is_empty());
}
