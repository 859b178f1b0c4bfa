//! Another service on loopback: what plugins send to, and what it makes of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use futures::StreamExt as _;
use serde_json::Value;

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// In upper case.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// To the byte.
    pub body: Bytes,
}

impl Received {
    /// One header as text.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

#[derive(Default)]
struct Shared {
    received: Vec<Received>,
    answers: VecDeque<(u16, Value)>,
}

/// The service; it ends with the test. It answers `/echo` with the request's headers, `/redirect?URL`
/// with a redirect, `/huge` with 64 MiB, `/slow` never, and everything else as it was told, else with
/// `{}`.
#[derive(Clone)]
pub struct Elsewhere {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    shared: Arc<Mutex<Shared>>,
}

impl Elsewhere {
    /// Answers with these one after another.
    pub async fn start(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            answers: answers.into_iter().collect(),
            ..Shared::default()
        }));
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// What has come in so far.
    pub fn received(&self) -> Vec<Received> {
        self.lock().received.clone()
    }

    /// Waits for a request to this path.
    pub async fn is_asked(&self, path: &str) {
        crate::eventually(&format!("a request to {path}"), || async {
            let received = self.received();
            received.iter().any(|one| one.path == path).then_some(())
        })
        .await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared
            .lock()
            .expect("no test panics while it holds this")
    }
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let answer = {
        let mut shared = shared.lock().expect("no test panics while it holds this");
        shared.received.push(Received {
            method: method.to_string(),
            path: uri.to_string(),
            headers: headers.clone(),
            body,
        });
        let scripted = !["/echo", "/redirect", "/huge", "/slow"].contains(&uri.path());
        scripted.then(|| shared.answers.pop_front()).flatten()
    };
    let response = Response::builder();
    let response = match uri.path() {
        "/echo" => {
            let heard = format!("{headers:?}");
            let shown = headers.get("authorization").cloned();
            let shown = shown.unwrap_or_else(|| "nothing".parse().expect("a value"));
            response.header("x-heard", shown).body(heard.into())
        }
        "/redirect" => response
            .status(302)
            .header("location", uri.query().unwrap_or_default())
            .body(Body::empty()),
        "/huge" => {
            let chunks = (0..1024).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 64 << 10]));
            response.body(Body::from_stream(futures::stream::iter(chunks)))
        }
        "/slow" => {
            let never = futures::stream::pending::<std::io::Result<Vec<u8>>>();
            response.body(Body::from_stream(never.fuse()))
        }
        _ => {
            let (status, body) = answer.unwrap_or((200, serde_json::json!({})));
            let json = response
                .status(status)
                .header("content-type", "application/json");
            json.body(body.to_string().into())
        }
    };
    response.expect("a response")
}
