#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::PrivateAddresses;

fn settings(private_addresses: PrivateAddresses) -> config::Outbound {
    config::Outbound {
        private_addresses,
        allow_http: true,
    }
}

/// A server that answers every connection's first request with these bytes, then says what it got.
async fn server(answer: &'static [u8]) -> (Url, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a?b", listener.local_addr().unwrap());
    let (told, tell) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut got = vec![0; 64 << 10];
            let n = stream.read(&mut got).await.unwrap_or(0);
            let _ = told.send(String::from_utf8_lossy(&got[..n]).into_owned());
            let _ = stream.write_all(answer).await;
        }
    });
    (Url::parse(&url).unwrap(), tell)
}

fn request(url: Url) -> HttpRequest {
    HttpRequest {
        method: "POST",
        url,
        headers: vec![("x-a".to_owned(), "1".into())],
        body: b"{}".to_vec(),
        timeout: Duration::from_secs(10),
    }
}

async fn send(url: Url, most: u64) -> Result<HttpResponse, Failure> {
    let client = ForPlugins::new(&settings(PrivateAddresses::Loopback)).unwrap();
    client.send(request(url), most).await
}

#[tokio::test]
async fn a_request_arrives_as_it_is_and_asks_for_nothing_compressed() {
    let (url, mut tell) =
        server(b"HTTP/1.1 201 Created\r\nX-B: 2\r\nContent-Length: 2\r\n\r\nok").await;
    let answer = send(url, 1000).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (201, &b"ok"[..]));
    assert!(answer.headers.contains(&("x-b".to_owned(), "2".to_owned())));
    let got = tell.recv().await.unwrap().to_ascii_lowercase();
    assert!(got.starts_with("post /a?b http/1.1\r\n"), "{got}");
    assert!(got.contains("accept-encoding: identity\r\n"), "{got}");
    assert!(
        got.contains("x-a: 1\r\n") && got.ends_with("\r\n\r\n{}"),
        "{got}"
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_follows_it() {
    let (elsewhere, mut asked) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
    let (url, _) = server(answer.leak().as_bytes()).await;
    let answer = send(url, 1000).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_too_slow_or_broken_is_a_failure() {
    let (url, _) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await;
    assert_eq!(send(url, 2).await.unwrap_err().code, "answer-too-large");
    let (url, _) = server(b"HTTP/1.1 200 OK\r\nX-Long: 12345678901\r\n\r\n").await;
    assert_eq!(send(url, 9).await.unwrap_err().code, "answer-too-large");
    let (url, _) = server(b"no http\r\n\r\n").await;
    assert_eq!(send(url, 1000).await.unwrap_err().code, "broken");

    // Accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let client = ForPlugins::new(&settings(PrivateAddresses::Loopback)).unwrap();
    let patience = HttpRequest {
        timeout: Duration::from_millis(100),
        ..request(Url::parse(&url).unwrap())
    };
    assert_eq!(
        client.send(patience, 9).await.unwrap_err().code,
        "timed-out"
    );

    // Nobody listens any more.
    drop(silent);
    let failure = send(Url::parse(&url).unwrap(), 9).await.unwrap_err();
    assert_eq!(failure.code, "unreachable");
    assert!(!failure.message.contains("127.0.0.1"), "{failure:?}");
}

#[tokio::test]
async fn plain_http_is_for_private_addresses_that_are_permitted_and_for_nothing_else() {
    let check = |url: &str, private| {
        ForPlugins::check(&Url::parse(url).unwrap(), &settings(private)).is_ok()
    };
    assert!(check("https://api.github.com/", PrivateAddresses::Deny));
    assert!(check("http://127.0.0.1:9000/", PrivateAddresses::Loopback));
    assert!(!check("http://127.0.0.1:9000/", PrivateAddresses::Deny));
    assert!(!check("https://127.0.0.1:9000/", PrivateAddresses::Deny));
    assert!(check("http://10.0.0.1/", PrivateAddresses::Allow));
    assert!(!check("https://10.0.0.1/", PrivateAddresses::Loopback));
    assert!(!check("http://api.github.com/", PrivateAddresses::Allow));

    let client = ForPlugins::new(&settings(PrivateAddresses::Deny)).unwrap();
    let failure = client
        .send(request(Url::parse("http://127.0.0.1:9/").unwrap()), 9)
        .await
        .unwrap_err();
    assert_eq!(failure.code, "address-refused");
    // A name that stands for a private address is found out when it is dialled.
    let named = Url::parse("https://localhost.localdomain:9999/").unwrap();
    let code = client.send(request(named), 9).await.unwrap_err().code;
    assert!(["address-refused", "unreachable"].contains(&code), "{code}");
}
