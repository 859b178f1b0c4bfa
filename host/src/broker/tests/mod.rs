//! The broker against raw sockets on the one side and a recording upstream on the other.
//! The attacks are numbered as in the catalogue: T01 to T09.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod allowance;
mod client;
mod clients;
mod headers;
mod log;
mod metering;
mod smuggling;
mod stub;
mod targets;
mod tokens;
mod upstream;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use self::stub::{Step, Stub};
use super::{Broker, Credential};

/// Never to be seen anywhere but at the upstream.
const REAL_KEY: &str = "sk-ant-api03-the-real-key-0123456789";

/// What the upstream answers where the answer does not matter.
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

fn settings(upstream: &str) -> crate::config::Broker {
    crate::config::Broker {
        upstream: upstream.parse().unwrap(),
        extra_paths: Vec::new(),
        allowed_models: Vec::new(),
        max_tokens_per_request: 0,
        max_requests: 0,
        max_output_tokens: 0,
        max_body: 1024 * 1024,
        max_concurrent: 16,
        connect_timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(60),
    }
}

async fn broker(stub: &Stub) -> Broker {
    start(settings(&stub.url())).await
}

async fn start(settings: crate::config::Broker) -> Broker {
    let key = Credential::ApiKey(SecretString::from(REAL_KEY));
    Broker::start(&settings, key, None).await.unwrap()
}

/// A broker whose upstream answers every request with `OK`.
async fn pair() -> (Broker, Stub) {
    let stub = Stub::start(vec![Step::Write(OK.into())]).await;
    (broker(&stub).await, stub)
}

fn token(broker: &Broker) -> &str {
    broker.token().expose_secret()
}

/// `POST target` with the token and a small body, with `extra` header lines.
fn post(broker: &Broker, target: &str, extra: &str) -> String {
    let token = token(broker);
    format!(
        "POST {target} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {token}\r\n{extra}content-length: 2\r\n\r\n{{}}"
    )
}
