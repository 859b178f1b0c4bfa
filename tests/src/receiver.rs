//! A receiver of webhooks on loopback that answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

/// One delivery as it came in.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// All headers.
    pub headers: HeaderMap,
    /// To the byte.
    pub body: Bytes,
}

impl Delivery {
    /// One header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a webhook's body is JSON")
    }
}

#[derive(Default)]
struct Shared {
    deliveries: Vec<Delivery>,
    answers: VecDeque<u16>,
}

/// The receiver; it ends with the test.
#[derive(Clone)]
pub struct Receiver {
    /// Where it listens.
    pub url: String,
    shared: Arc<Mutex<Shared>>,
}

impl Receiver {
    /// In the place of a status: no answer, for ever.
    pub const HANGS: u16 = 0;

    /// Answers 200, or first with `answers`, one after another.
    pub async fn start(answers: impl IntoIterator<Item = u16>) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            answers: answers.into_iter().collect(),
            ..Shared::default()
        }));
        let router = Router::new()
            .route("/hook", post(receive))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// What has come in so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared
            .lock()
            .expect("no test panics while it holds this")
            .deliveries
            .clone()
    }

    /// Waits for the n-th delivery.
    pub async fn delivery(&self, n: usize) -> Delivery {
        crate::eventually("a webhook", || async {
            self.deliveries().get(n - 1).cloned()
        })
        .await
    }
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let answer = {
        let mut shared = shared.lock().expect("no test panics while it holds this");
        shared.deliveries.push(Delivery { headers, body });
        shared.answers.pop_front().unwrap_or(200)
    };
    if answer == Receiver::HANGS {
        std::future::pending::<()>().await;
    }
    StatusCode::from_u16(answer).expect("a valid status")
}
