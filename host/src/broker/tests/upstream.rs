//! T07: what the upstream does to us.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::client::{Client, PATIENCE, error, exchange, status};
use super::*;

async fn answered(steps: Vec<Step>) -> (String, Stub, Broker) {
    let stub = Stub::start(steps).await;
    let broker = broker(&stub).await;
    let answer = exchange(&broker, post(&broker, "/v1/messages", "")).await;
    (answer, stub, broker)
}

// T07
#[tokio::test]
async fn an_error_of_the_upstream_passes_unchanged() {
    for (code, name) in [
        (401, "Unauthorized"),
        (429, "Too Many Requests"),
        (529, ""),
        (500, "Oops"),
    ] {
        let body = r#"{"type":"error","error":{"type":"x","message":"y"}}"#;
        let bytes = format!(
            "HTTP/1.1 {code} {name}\r\ncontent-type: application/json\r\nretry-after: 7\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (answer, stub, broker) = answered(vec![Step::Write(bytes.into())]).await;
        assert_eq!(status(&answer), code);
        assert!(answer.ends_with(body) && answer.contains("retry-after: 7"));
        assert_eq!(stub.seen().len(), 1, "nothing is tried again");
        assert_eq!(broker.usage()["refused"], 0);
    }
}

// T07
#[tokio::test]
async fn a_redirect_is_neither_followed_nor_passed_on() {
    let elsewhere = Stub::start(vec![Step::Write(OK.into())]).await;
    for code in [301, 302, 303, 307, 308] {
        let bytes = format!(
            "HTTP/1.1 {code} Moved\r\nlocation: {}/v1/messages\r\ncontent-length: 0\r\n\r\n",
            elsewhere.url()
        );
        let (answer, _stub, _broker) = answered(vec![Step::Write(bytes.into())]).await;
        assert_eq!(status(&answer), 502);
        assert_eq!(error(&answer).1, "proxy_upstream_redirect");
        assert!(!answer.contains(&elsewhere.url()));
    }
    assert!(elsewhere.raw().is_empty());
}

// T07
#[tokio::test]
async fn an_upstream_that_switches_protocols_is_an_error() {
    let bytes = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let (answer, _stub, _broker) = answered(vec![Step::Write(bytes.into())]).await;
    assert_eq!(status(&answer), 502);
}

// T07
#[tokio::test]
async fn an_upstream_that_cannot_be_reached_or_breaks_is_a_bad_gateway() {
    let gone = Stub::start(vec![]).await.url();
    let broker = start(settings(&gone)).await;
    let answer = exchange(&broker, post(&broker, "/v1/messages", "")).await;
    assert_eq!(status(&answer), 502);
    assert_eq!(
        error(&answer),
        (
            "api_error".to_owned(),
            "proxy_upstream_unreachable".to_owned()
        )
    );
    assert!(!answer.contains(&gone));
    for steps in [
        vec![Step::Reset],
        vec![Step::Write("rubbish\r\n\r\n".into())],
    ] {
        let (answer, _stub, _broker) = answered(steps).await;
        assert_eq!(status(&answer), 502);
    }
}

// T07
#[tokio::test]
async fn without_valid_tls_nothing_of_the_request_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        let mut sent = Vec::new();
        // A reset is an end as well; what came before it is kept.
        let _ = stream.read_to_end(&mut sent).await;
        sent
    });
    let broker = start(settings(&format!("https://{address}"))).await;
    let answer = exchange(&broker, post(&broker, "/v1/messages", "")).await;
    assert_eq!(status(&answer), 502);
    let sent = String::from_utf8_lossy(&plain.await.unwrap()).into_owned();
    assert!(!sent.is_empty() && !sent.contains("sk-ant") && !sent.contains("/v1/messages"));
}

// T07
#[tokio::test]
async fn an_upstream_without_an_answer_is_a_gateway_timeout() {
    let stub = Stub::start(vec![Step::Hang]).await;
    let mut settings = settings(&stub.url());
    settings.read_timeout = Duration::from_millis(300);
    let broker = start(settings).await;
    let answer = exchange(&broker, post(&broker, "/v1/messages", "")).await;
    assert_eq!(status(&answer), 504);
    assert_eq!(error(&answer).1, "proxy_upstream_timeout");
    stub.departure().await;
}

// T07
#[tokio::test]
async fn a_stream_that_stalls_or_breaks_is_broken_off_and_not_ended() {
    let begun = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for end in [Step::Hang, Step::Reset] {
        let stub = Stub::start(vec![Step::Write(begun.into()), Step::Wait, end]).await;
        let mut settings = settings(&stub.url());
        settings.read_timeout = Duration::from_millis(500);
        let broker = start(settings).await;
        let mut client = Client::send(&broker, post(&broker, "/v1/messages", "")).await;
        client.until("hello").await;
        stub.proceed();
        assert_eq!(client.rest().await.find("0\r\n\r\n"), None);
    }
}

// T07
#[tokio::test]
async fn an_event_passes_before_the_next_one_is_there() {
    let first = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n7\r\nfirst\n\n\r\n";
    let second = "8\r\nsecond\n\n\r\n0\r\n\r\n";
    let steps = vec![
        Step::Write(first.into()),
        Step::Wait,
        Step::Write(second.into()),
    ];
    let stub = Stub::start(steps).await;
    let broker = broker(&stub).await;
    let mut client = Client::send(&broker, post(&broker, "/v1/messages", "")).await;
    client.until("first\n\n").await;
    stub.proceed();
    assert!(client.rest().await.contains("second\n\n"));
}

// T07
#[tokio::test]
async fn a_packed_answer_passes_as_it_is() {
    // Not gzip at all: whoever tried to unpack it would fail.
    let bytes = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nBOMB";
    let (answer, _stub, _broker) = answered(vec![Step::Write(bytes.into())]).await;
    assert!(answer.ends_with("\r\n\r\nBOMB") && answer.contains("content-encoding: gzip"));
}

// T07, T08
#[tokio::test]
async fn an_endless_answer_is_not_gathered_for_a_client_that_does_not_read() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let stub = Stub::start(vec![Step::Write(head.into()), Step::Zeros(u64::MAX)]).await;
    let broker = broker(&stub).await;
    let mut client = Client::send(&broker, post(&broker, "/v1/messages", "")).await;
    client.until("\0").await;
    // What is sent stops growing once the sockets' buffers are full.
    let mut before = u64::MAX;
    while before != stub.sent() {
        before = stub.sent();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(before < 64 * 1024 * 1024, "{before} bytes were taken");
    drop(client);
    stub.departure().await;
}

// T07
#[tokio::test]
async fn an_answer_of_a_gibibyte_passes_whole_and_is_nowhere_held() {
    const GIBIBYTE: u64 = 1 << 30;
    // As JSON, of which the beginning is looked at for its counts.
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {GIBIBYTE}\r\n\r\n"
    );
    let stub = Stub::start(vec![Step::Write(head.into()), Step::Zeros(GIBIBYTE)]).await;
    let broker = broker(&stub).await;
    let before = resident();
    let mut client = Client::send(&broker, post(&broker, "/v1/messages", "")).await;
    let (mut received, mut most) = (0, 0);
    let mut piece = vec![0; 1 << 20];
    let reading = async {
        loop {
            match client.0.read(&mut piece).await.unwrap() {
                0 => break,
                length => received += length as u64,
            }
            most = most.max(resident());
        }
    };
    tokio::time::timeout(6 * PATIENCE, reading).await.unwrap();
    assert!(
        (GIBIBYTE..GIBIBYTE + 1024).contains(&received),
        "{received}"
    );
    // Other tests run in the same process, so the bound is a generous one.
    let grown = most.saturating_sub(before);
    assert!(grown < GIBIBYTE / 4, "{grown} bytes more were in memory");
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<u64>().unwrap() * 1024
}
