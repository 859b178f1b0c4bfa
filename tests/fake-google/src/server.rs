//! Accepts HTTP/1.1 and HTTP/2 on one port, names each call's operation, injects its fault, writes it down.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::sync::watch;

use crate::faults::{Fault, Faults};
use crate::reply::{self, Body, Code};
use crate::{kms, run, secrets, storage};

/// Requests that are kept.
const JOURNAL: usize = 100_000;
/// Of a request's body that is kept, in bytes.
const KEPT: usize = 16 * 1024;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The service and the call, e.g. `storage.insert`; `unknown` where no service has it.
    pub operation: String,
    /// When it came, from the start of the service.
    pub at: Duration,
    /// Of HTTP.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// At most its first 16 KiB.
    pub body: Bytes,
    /// What happened to it.
    pub fault: Option<Fault>,
}

/// A call with its whole body.
pub(crate) struct Call {
    pub(crate) method: hyper::Method,
    pub(crate) uri: hyper::Uri,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The first value of a query parameter, decoded.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(&self.uri).ok()?.0;
        pairs
            .into_iter()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn is_grpc(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.starts_with("application/grpc"))
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    started: Instant,
    faults: Mutex<Faults>,
    journal: Mutex<VecDeque<Request>>,
    objects: Mutex<storage::Objects>,
    keys: Mutex<kms::Keys>,
    secrets: Mutex<secrets::Secrets>,
    runs: Mutex<run::Runs>,
    closed: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            started: Instant::now(),
            faults: Mutex::default(),
            journal: Mutex::default(),
            objects: Mutex::default(),
            keys: Mutex::default(),
            secrets: Mutex::default(),
            runs: Mutex::default(),
            closed: watch::channel(false).0,
        })
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, VecDeque<Request>> {
        lock(&self.journal)
    }

    pub(crate) fn objects(&self) -> MutexGuard<'_, storage::Objects> {
        lock(&self.objects)
    }

    pub(crate) fn keys(&self) -> MutexGuard<'_, kms::Keys> {
        lock(&self.keys)
    }

    pub(crate) fn secrets(&self) -> MutexGuard<'_, secrets::Secrets> {
        lock(&self.secrets)
    }

    pub(crate) fn runs(&self) -> MutexGuard<'_, run::Runs> {
        lock(&self.runs)
    }

    /// Ends every connection.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    fn note(&self, operation: &str, call: &Call, fault: Option<Fault>) {
        let text = |value: &hyper::header::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let mut journal = self.journal();
        if journal.len() >= JOURNAL {
            journal.pop_front();
        }
        journal.push_back(Request {
            operation: operation.to_owned(),
            at: self.started.elapsed(),
            method: call.method.to_string(),
            target: call
                .uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            headers: call
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body: call.body.slice(..call.body.len().min(KEPT)),
            fault,
        });
    }

    /// None where the connection is to end without an answer.
    async fn answer(self: &Arc<Self>, call: Call) -> Option<Response<Body>> {
        let operation = operation(&call).unwrap_or("unknown");
        let (fault, latency) = {
            let mut faults = self.faults();
            (faults.of(operation), faults.latency)
        };
        self.note(operation, &call, fault);
        tokio::time::sleep(latency).await;
        match fault {
            Some(Fault::Reset) => return None,
            Some(Fault::Status(status)) => {
                let code = Code::of_status(status);
                let message = "injected";
                return Some(if call.is_grpc() {
                    reply::grpc(Err((code, message.to_owned())))
                } else if code == Code::FailedPrecondition && !operation.starts_with("storage.") {
                    reply::precondition(message)
                } else {
                    reply::error(code, message)
                });
            }
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            _ => {}
        }
        let response = self.carry_out(operation, call).await;
        match fault {
            Some(Fault::LostReply) => None,
            Some(Fault::BrokenStream(after)) => Some(broken(response, after).await),
            Some(Fault::Silence(after)) => Some(silent(response, after).await),
            Some(Fault::WrongChecksum) => Some(spoilt(response).await),
            Some(Fault::Unverified) => Some(unverified(response).await),
            _ => Some(response),
        }
    }

    async fn carry_out(self: &Arc<Self>, operation: &str, call: Call) -> Response<Body> {
        match operation.split_once('.') {
            Some(("storage", _)) => storage::answer(self, operation, &call),
            Some(("kms", _)) => kms::answer(self, operation, &call),
            Some(("secrets", _)) => secrets::answer(self, &call),
            Some(("run", _)) => run::answer(self, operation, &call),
            _ => reply::error(Code::NotFound, "No such method."),
        }
    }
}

/// Which service has the call, and what it is there.
fn operation(call: &Call) -> Option<&'static str> {
    storage::operation(call)
        .or_else(|| kms::operation(call))
        .or_else(|| secrets::operation(call))
        .or_else(|| run::operation(call))
}

/// The answer's head, and so many bytes of its body.
async fn start_of(response: Response<Body>, length: usize) -> (axum::http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    let whole = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let start = whole.slice(..length.min(whole.len()));
    (parts, start)
}

/// The answer, whose body does not go on after so many bytes.
async fn silent(response: Response<Body>, after: usize) -> Response<Body> {
    let (parts, start) = start_of(response, after).await;
    let start = futures::stream::iter([Ok(Frame::data(start))]);
    let frames = start.chain(futures::stream::pending());
    Response::from_parts(parts, StreamBody::new(frames).boxed_unsync())
}

/// The answer, whose body ends with an error after so many bytes.
async fn broken(response: Response<Body>, after: usize) -> Response<Body> {
    let (parts, start) = start_of(response, after).await;
    let frames = futures::stream::iter([
        Ok(Frame::data(start)),
        Err(io::Error::other("the stream is broken")),
    ])
    // What was sent before the end is to arrive.
    .then(|frame| async {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        frame
    });
    Response::from_parts(parts, StreamBody::new(frames).boxed_unsync())
}

/// The answer, with each checksum in it or beside it changed.
async fn spoilt(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if parts.headers.contains_key("x-goog-hash") {
        parts.headers.insert(
            "x-goog-hash",
            hyper::header::HeaderValue::from_static("crc32c=AAAAAA=="),
        );
        return Response::from_parts(parts, body);
    }
    edited(Response::from_parts(parts, body), |key, value| {
        if key.to_ascii_lowercase().ends_with("crc32c")
            && let Some(text) = value.as_str()
        {
            *value = if text.ends_with("==") {
                "AAAAAA=="
            } else {
                "1"
            }
            .into();
        }
    })
    .await
}

/// The answer, which says that no checksum of the request was seen.
async fn unverified(response: Response<Body>) -> Response<Body> {
    edited(response, |key, value| {
        if key.starts_with("verified") {
            *value = false.into();
        }
    })
    .await
}

/// The answer, after `edit` of every field of its JSON, however deep.
async fn edited(response: Response<Body>, edit: fn(&str, &mut Value)) -> Response<Body> {
    fn each(value: &mut Value, edit: fn(&str, &mut Value)) {
        for (key, value) in value.as_object_mut().into_iter().flatten() {
            edit(key, value);
            each(value, edit);
        }
    }
    let (mut parts, body) = response.into_parts();
    let whole = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let Ok(mut value) = serde_json::from_slice::<Value>(&whole) else {
        return Response::from_parts(parts, reply::full(whole));
    };
    each(&mut value, edit);
    parts.headers.remove(hyper::header::CONTENT_LENGTH);
    Response::from_parts(parts, reply::full(value.to_string()))
}

pub(crate) async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut closed = shared.closed.subscribe();
            let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
                let shared = Arc::clone(&shared);
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                    let call = Call {
                        method: parts.method,
                        uri: parts.uri,
                        headers: parts.headers,
                        body,
                    };
                    let answer = shared.answer(call).await;
                    answer.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset))
                }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // A connection that was ended on purpose ends with an error.
                _ended = connection => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        });
    }
}
