//! T09: nothing that passes through is written down.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::client::exchange;
use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// T09
#[tokio::test]
async fn at_the_finest_log_level_no_key_token_header_or_body_is_written() {
    let log = Buffer::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // A test runs on one thread, and so does all that it spawns.
    let guard = tracing::subscriber::set_default(subscriber);
    let answer = OK
        .replace("{}", "@@")
        .replace("\r\n\r\n", "\r\nx-private: answered-header\r\n\r\n");
    let stub = Stub::start(vec![Step::Write(answer.into())]).await;
    let broker = broker(&stub).await;
    let secret = token(&broker).to_owned();
    for extra in [
        "x-private: asked-header\r\n",
        "expect: asked-header\r\n",
        "bad\r\n",
    ] {
        exchange(
            &broker,
            post(&broker, "/v1/messages", extra).replace("{}", "##"),
        )
        .await;
    }
    exchange(&broker, post(&broker, "/v1/secret-path", "")).await;
    exchange(
        &broker,
        post(&broker, "/v1/messages", "").replace(&secret, "wrong-token"),
    )
    .await;
    let down = start(settings("http://127.0.0.1:9")).await;
    exchange(&down, post(&down, "/v1/messages", "")).await;
    let failed = token(&down).to_owned();
    broker.shutdown().await;
    drop(guard);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("broker listens"), "the log is caught");
    let forbidden = [
        &secret[..20],
        &secret[20..30],
        &failed[20..30],
        &REAL_KEY[..16],
        "sk-ant",
        "answered-header",
        "asked-header",
        "@@",
        "##",
        "secret-path",
        "wrong-token",
    ];
    for part in forbidden {
        assert!(!log.contains(part), "{part} is in the log");
    }
}
