//! T05 and T08: clients that ask for too much, or leave.

use tokio::io::AsyncWriteExt as _;

use super::client::{Client, PATIENCE, error, exchange, status};
use super::*;

// T05
#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_length_or_while_it_comes() {
    let (broker, stub) = pair().await;
    let key = token(&broker);
    let body = "a".repeat(1024 * 1024 + 1);
    let announced = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let streamed = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for request in [announced, streamed] {
        let answer = exchange(&broker, request).await;
        assert_eq!(status(&answer), 413);
        assert_eq!(
            error(&answer),
            (
                "request_too_large".to_owned(),
                "proxy_body_too_large".to_owned()
            )
        );
    }
    assert!(stub.seen().is_empty(), "no whole request arrived");
    assert_eq!(broker.usage()["refused"], 2);
}

// T05
#[tokio::test]
async fn a_body_of_exactly_the_limit_passes() {
    let (broker, stub) = pair().await;
    let body = "a".repeat(1024 * 1024);
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
        token(&broker),
        body.len()
    );
    assert_eq!(status(&exchange(&broker, request).await), 200);
    assert_eq!(stub.only().body, body.as_bytes());
}

// T05, T08
#[tokio::test]
async fn more_requests_at_once_than_allowed_are_told_to_come_back() {
    let stub = Stub::start(vec![Step::Wait, Step::Write(OK.into())]).await;
    let mut settings = settings(&stub.url());
    settings.max_concurrent = 2;
    let broker = start(settings).await;
    let request = post(&broker, "/v1/messages", "");
    let first = Client::send(&broker, &request).await;
    let second = Client::send(&broker, &request).await;
    stub.arrival().await;
    stub.arrival().await;
    let answer = exchange(&broker, &request).await;
    assert_eq!(status(&answer), 429);
    assert_eq!(error(&answer).0, "rate_limit_error");
    assert!(answer.contains("retry-after: 1"));
    stub.proceed();
    stub.proceed();
    assert_eq!(status(&first.rest().await), 200);
    assert_eq!(status(&second.rest().await), 200);
    stub.proceed();
    assert_eq!(
        status(&exchange(&broker, &request).await),
        200,
        "a place is free again"
    );
}

// T08
#[tokio::test]
async fn a_client_that_leaves_ends_the_upstreams_work_before_and_during_the_answer() {
    let begun = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let waiting = Stub::start(vec![Step::Hang]).await;
    let early = broker(&waiting).await;
    let client = Client::send(&early, post(&early, "/v1/messages", "")).await;
    waiting.arrival().await;
    drop(client);
    let left = tokio::time::timeout(Duration::from_secs(1), waiting.departure()).await;
    assert!(left.is_ok(), "before the answer");

    let streaming = Stub::start(vec![Step::Write(begun.into()), Step::Hang]).await;
    let late = broker(&streaming).await;
    let mut client = Client::send(&late, post(&late, "/v1/messages", "")).await;
    client.until("hello").await;
    drop(client);
    let left = tokio::time::timeout(Duration::from_secs(1), streaming.departure()).await;
    assert!(left.is_ok(), "during the answer");
}

// T08
#[tokio::test]
async fn a_client_that_closes_its_half_counts_as_gone() {
    let stub = Stub::start(vec![Step::Hang]).await;
    let broker = broker(&stub).await;
    let mut client = Client::send(&broker, post(&broker, "/v1/messages", "")).await;
    stub.arrival().await;
    client.0.shutdown().await.unwrap();
    stub.departure().await;
    assert_eq!(client.rest().await, "");
}

// T08
#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_ends_the_upload() {
    let (broker, stub) = pair().await;
    let request =
        post(&broker, "/v1/messages", "").replace("content-length: 2", "content-length: 9");
    let client = Client::send(&broker, request).await;
    drop(client);
    stub.departure().await;
    assert!(stub.seen().is_empty());
}

// T08
#[tokio::test]
async fn ten_thousand_aborted_requests_leave_no_socket_and_no_place_taken() {
    let stub = Stub::start(vec![Step::Hang]).await;
    let broker = broker(&stub).await;
    let whole = post(&broker, "/v1/messages", "");
    for number in 0..10_000 {
        // Cut anywhere: in the head, between head and body, after the body.
        let cut = &whole[..whole.len() - number % whole.len()];
        let client = Client::send(&broker, cut).await;
        // A reset, so that the test does not use up the machine's ports.
        client.0.set_zero_linger().unwrap();
    }
    let port = broker.address.port();
    let waited = async {
        while open_sockets(port) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waited).await;
    assert!(waited.is_ok(), "{} sockets are left", open_sockets(port));
    // All places are free: as many requests as are allowed arrive at the upstream.
    let before = stub.seen().len();
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(Client::send(&broker, &whole).await);
    }
    let arrived = async {
        while stub.seen().len() < before + 16 {
            stub.arrival().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, arrived).await.is_ok());
}

/// The broker's own ends of connections that are open or wait to be closed by it, as the kernel
/// counts them.
fn open_sockets(port: u16) -> usize {
    let local = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let columns = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let open = columns
        .filter(|columns| columns[1].ends_with(&local) && ["01", "08"].contains(&columns[3]));
    open.count()
}
