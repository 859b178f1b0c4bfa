//! The files of Git LFS beside the repositories: the batch API, and a storage that another token opens.
//!
//! lighttpd hands `…/info/lfs/…` and `/storage/…` over, so that all of it is reached by HTTPS. Objects are
//! given out and taken at another origin than the API's: `127.0.0.1` in place of `localhost`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, Uri};
use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

/// How the server behaves from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    #[default]
    Honest,
    /// Gives out other bytes, as many.
    Corrupt,
    /// Gives out one byte more and more of them.
    Endless,
    /// Names this address for every object of this operation.
    Elsewhere(&'static str, String),
    /// Names an address of its own that leads to this one.
    Redirect(String),
    /// Answers to downloads with this.
    RefuseDownloads(u16),
    /// Answers to uploads with this.
    RefuseUploads(u16),
    /// Answers with what is no batch.
    Babble,
    /// Takes the question and never answers.
    Silent,
}

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method and path.
    pub what: String,
    /// The header, or nothing.
    pub authorization: String,
    /// What opens the storage, by a header.
    pub storage: String,
}

#[derive(Default)]
struct Shared {
    /// By repository and id.
    objects: BTreeMap<(String, String), Bytes>,
    asked: Vec<Asked>,
    manner: Manner,
    /// Of HTTPS, which lighttpd serves.
    port: u16,
    token: String,
    ticket: String,
}

/// The LFS server. It ends when this drops.
pub struct Lfs {
    shared: Arc<Mutex<Shared>>,
    _stop: oneshot::Sender<()>,
}

/// The id of this content, and the pointer that stands for it.
pub fn pointer_to(content: &[u8]) -> (String, String) {
    let oid = hex::encode(Sha256::digest(content));
    let size = content.len();
    let text =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n");
    (oid, text)
}

impl Lfs {
    /// Serves on this port, which lighttpd at `https` hands requests to.
    pub(super) fn start(port: u16, https: u16, token: &str, ticket: &str) -> Self {
        let shared = Shared {
            port: https,
            token: token.to_owned(),
            ticket: ticket.to_owned(),
            ..Shared::default()
        };
        let shared = Arc::new(Mutex::new(shared));
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket");
        let (stop, stopped) = oneshot::channel::<()>();
        // Apart from the test, which may wait for a program that asks here.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                tokio::select! {
                    served = axum::serve(listener, router) => served.expect("it serves"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            shared,
            _stop: stop,
        }
    }

    /// From now on.
    pub fn behave(&self, manner: Manner) {
        self.lock().manner = manner;
    }

    /// Keeps this content for a repository; the pointer to it.
    pub fn put(&self, repository: &str, content: &[u8]) -> String {
        let (oid, pointer) = pointer_to(content);
        let key = (repository.to_owned(), oid);
        self.lock().objects.insert(key, content.to_vec().into());
        pointer
    }

    /// Whether a repository has this content.
    pub fn has(&self, repository: &str, content: &[u8]) -> bool {
        let key = (repository.to_owned(), pointer_to(content).0);
        self.lock().objects.contains_key(&key)
    }

    /// An address of this content that needs no header: what opens it stands in it.
    pub fn signed(&self, repository: &str, content: &[u8]) -> String {
        let (shared, oid) = (self.lock(), pointer_to(content).0);
        format!(
            "https://localhost:{}/storage/signed/{repository}/{oid}?signature={}",
            shared.port, shared.ticket
        )
    }

    /// What came in so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared
            .lock()
            .expect("no test panics while it holds this")
    }
}

async fn answer(
    State(shared): State<Arc<Mutex<Shared>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or("").to_owned()
    };
    let manner = {
        let mut shared = shared.lock().expect("no test panics while it holds this");
        shared.asked.push(Asked {
            what: format!("{method} {}", uri.path()),
            authorization: header("authorization"),
            storage: header("x-storage"),
        });
        shared.manner.clone()
    };
    if manner == Manner::Silent {
        std::future::pending::<()>().await;
    }
    let mut shared = shared.lock().expect("no test panics while it holds this");
    let Some((repository, _)) = uri.path().split_once(".git/info/lfs/") else {
        let signature = format!("signature={}", shared.ticket);
        let is_signed = uri.query() == Some(signature.as_str());
        return match is_signed || header("x-storage") == shared.ticket {
            true => store(&mut shared, &method, uri.path(), body),
            false => respond(403, Bytes::new()),
        };
    };
    let login = format!("x-access-token:{}", shared.token);
    let login = base64::engine::general_purpose::STANDARD.encode(login);
    let ours = [
        format!("Basic {login}"),
        format!("RemoteAuth {}", shared.ticket),
    ];
    if !ours.contains(&header("authorization")) {
        return respond(401, Bytes::new());
    }
    let (status, content) = batch(&shared, repository.trim_start_matches('/'), &body);
    respond(status, content)
}

fn respond(status: u16, content: impl Into<Body>) -> Response<Body> {
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/vnd.git-lfs+json");
    response.body(content.into()).expect("a response")
}

fn batch(shared: &Shared, repository: &str, body: &[u8]) -> (u16, Bytes) {
    let asked: Value = serde_json::from_slice(body).expect("a batch");
    let operation = asked["operation"].as_str().expect("an operation");
    match (&shared.manner, operation) {
        (Manner::RefuseDownloads(status), "download")
        | (Manner::RefuseUploads(status), "upload") => return (*status, Bytes::new()),
        (Manner::Babble, _) => return (200, Bytes::from_static(b"<html>Welcome!</html>")),
        _ => {}
    }
    let objects = asked["objects"].as_array().expect("objects").iter();
    let objects = objects.map(|object| {
        let oid = object["oid"].as_str().expect("an id");
        let held = shared
            .objects
            .contains_key(&(repository.to_owned(), oid.to_owned()));
        let own = format!(
            "https://127.0.0.1:{}/storage/{repository}/{oid}",
            shared.port
        );
        let href = match &shared.manner {
            Manner::Elsewhere(one, href) if *one == operation => href.clone(),
            _ => own.clone(),
        };
        let header = json!({"X-Storage": shared.ticket});
        let action = json!({"href": href, "header": header});
        let mut answer = json!({"oid": oid, "size": object["size"], "authenticated": true});
        match (operation, held) {
            ("download", true) => answer["actions"] = json!({"download": action}),
            ("download", false) => answer["error"] = json!({"code": 404, "message": "gone"}),
            ("upload", false) => {
                let verify = json!({"href": format!("{own}/verify"), "header": header});
                answer["actions"] = json!({"upload": action, "verify": verify});
            }
            _ => {}
        }
        answer
    });
    let objects = objects.collect::<Vec<_>>();
    let answer = json!({"transfer": "basic", "objects": objects});
    (200, answer.to_string().into())
}

fn store(shared: &mut Shared, method: &Method, path: &str, body: Bytes) -> Response<Body> {
    let (path, verify) = match path.strip_suffix("/verify") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let path = path.trim_start_matches("/storage/");
    let is_signed = path.starts_with("signed/");
    let (repository, oid) = path
        .trim_start_matches("signed/")
        .rsplit_once('/')
        .expect("a repository and an id");
    let key = (repository.to_owned(), oid.to_owned());
    match (method.as_str(), shared.objects.get(&key), &shared.manner) {
        ("GET", _, Manner::Redirect(to)) if !is_signed => {
            let response = Response::builder().status(302).header("location", to);
            response.body(Body::empty()).expect("a response")
        }
        ("GET", Some(content), Manner::Corrupt) => respond(200, vec![b'?'; content.len()]),
        ("GET", Some(_), Manner::Endless) => {
            let more = std::iter::repeat_with(|| Ok::<_, std::io::Error>(vec![b'?'; 4096]));
            respond(200, Body::from_stream(futures::stream::iter(more)))
        }
        ("GET", Some(content), _) => respond(200, content.clone()),
        ("PUT", _, _) if pointer_to(&body).0 == oid => {
            shared.objects.insert(key, body);
            respond(200, Bytes::new())
        }
        ("PUT", _, _) => respond(422, Bytes::new()),
        ("POST", Some(_), _) if verify => respond(200, Bytes::new()),
        _ => respond(404, Bytes::new()),
    }
}
