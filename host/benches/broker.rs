//! What the broker adds to the first byte of an answer: the same request to the same upstream, once
//! through it and once directly. Everything is on loopback and without TLS, so the network's own
//! time does not hide the difference; each request makes a connection of its own, as the broker
//! takes one request per connection.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use criterion::Criterion;
use gatehouse::broker::{Broker, Credential};
use gatehouse::config::{self, Sources};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let runtime = Runtime::new().unwrap();
    let upstream = runtime.block_on(upstream());
    let flags = [("broker.upstream", &upstream)];
    let config = config::load(&Sources {
        file: None,
        environment: BTreeMap::new(),
        flags: flags
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .into(),
    })
    .unwrap();
    let credential = Credential::ApiKey("sk-bench".to_owned().into());
    let broker = runtime
        .block_on(Broker::start(&config.broker, credential, None))
        .unwrap();
    let environment: BTreeMap<String, String> = broker.environment().into_iter().collect();

    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let body = json!({
        "model": "claude-sonnet-5-5", "max_tokens": 1024, "stream": true,
        "messages": [{"role": "user", "content": "gates ".repeat(4000)}],
    })
    .to_string();
    let ways = [
        ("broker/direct", upstream.as_str(), "sk-bench"),
        (
            "broker/through",
            environment["ANTHROPIC_BASE_URL"].as_str(),
            environment["ANTHROPIC_API_KEY"].as_str(),
        ),
    ];
    for (name, base, key) in ways {
        let url = format!("{base}/v1/messages");
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let request = client
                    .post(&url)
                    .header("x-api-key", key)
                    .header("content-type", "application/json")
                    .body(body.clone());
                let mut answer = request.send().await.unwrap().error_for_status().unwrap();
                answer.chunk().await.unwrap().unwrap()
            });
        });
    }
    runtime.block_on(broker.shutdown());
    criterion.final_summary();
}

/// Answers every message with the same stream, at once.
async fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let usage = json!({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}});
    let answer = format!("event: message_start\ndata: {usage}\n\n");
    let messages =
        move |_body: bytes::Bytes| async move { ([(CONTENT_TYPE, "text/event-stream")], answer) };
    let router = Router::new().route("/v1/messages", post(messages));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}
