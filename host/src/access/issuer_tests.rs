//! Keys of an issuer on loopback that turns them, goes away and comes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::*;

/// What the issuer answers at a path; none: it is away.
type Documents = Arc<Mutex<Option<HashMap<&'static str, Value>>>>;

struct Server {
    url: String,
    documents: Documents,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let documents = Documents::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&documents), Arc::clone(&asked));
        let answer = move |path: Uri| {
            count.fetch_add(1, Ordering::SeqCst);
            let answers = answers.lock().unwrap();
            let found = answers
                .as_ref()
                .and_then(|answers| answers.get(path.path()));
            std::future::ready(found.map_or_else(
                || StatusCode::SERVICE_UNAVAILABLE.into_response(),
                |found| -> Response { found.to_string().into_response() },
            ))
        };
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(answer))
                .await
                .unwrap();
        });
        Self {
            url,
            documents,
            asked,
        }
    }

    fn give(&self, keys: Value) {
        let discovery = json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)});
        *self.documents.lock().unwrap() = Some(HashMap::from([
            ("/.well-known/openid-configuration", discovery),
            ("/keys", json!({ "keys": keys })),
        ]));
    }

    fn go_away(&self) {
        *self.documents.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn keys(&self, times: Times) -> IssuerKeys {
        IssuerKeys::with(&self.url, None, times).unwrap()
    }
}

fn ed(name: &str) -> Value {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": name, "x": x})
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_unknown_name_has_the_keys_fetched_anew_but_not_at_every_request() {
    let server = Server::start().await;
    server.give(json!([ed("one")]));
    let keys = server.keys(TIMES);
    assert!(keys.named("one").await.unwrap().is_some());
    assert_eq!(server.asked(), 2);
    for name in ["two", "../one", "", "one "] {
        let found = keys.named(name).await;
        assert!(matches!(found, Err(Wrong::NoGuess(_))), "{name}");
    }
    assert_eq!(server.asked(), 2);

    let quick = server.keys(Times {
        between: Duration::ZERO,
        ..TIMES
    });
    assert!(quick.named("one").await.unwrap().is_some());
    server.give(json!([ed("two")]));
    assert!(quick.named("two").await.unwrap().is_some());
    assert!(quick.named("one").await.unwrap().is_none());
}

#[tokio::test]
async fn keys_serve_on_while_the_issuer_is_away_but_not_for_ever() {
    let server = Server::start().await;
    server.give(json!([ed("one")]));
    let times = |kept| Times {
        fresh: Duration::ZERO,
        kept,
        between: Duration::ZERO,
    };
    let (patient, strict) = (server.keys(times(LONG)), server.keys(times(Duration::ZERO)));
    assert!(patient.named("one").await.unwrap().is_some());
    server.go_away();
    assert!(patient.named("one").await.unwrap().is_some());
    let other = patient.named("other").await;
    assert!(matches!(other, Err(Wrong::NoGuess(_))));
    assert!(matches!(strict.named("one").await, Err(Wrong::IssuerAway)));
    server.give(json!([ed("other")]));
    assert!(patient.named("other").await.unwrap().is_some());
}

#[tokio::test]
async fn only_keys_that_sign_by_the_known_algorithms_and_have_a_name_are_taken() {
    let server = Server::start().await;
    let with = |name: &str, more: Value| {
        let mut key = ed(name);
        json_patch::merge(&mut key, &more);
        key
    };
    server.give(json!([
        ed("good"),
        with("for-encryption", json!({"use": "enc"})),
        with("for-another", json!({"alg": "RS256"})),
        json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}),
        json!({"kty": "XYZ", "kid": "new-kind"}),
        json!("no key at all"),
        with("x", json!({"kid": null})),
    ]));
    let keys = server.keys(TIMES);
    assert_eq!(
        keys.named("good").await.unwrap().unwrap().algorithm,
        Algorithm::EdDSA
    );
    for name in ["for-encryption", "for-another", "secret", "new-kind", "x"] {
        let found = keys.named(name).await;
        assert!(matches!(found, Err(Wrong::NoGuess(_))), "{name}");
    }
}

#[tokio::test]
async fn an_issuer_that_says_it_is_another_or_says_too_much_gives_no_keys() {
    let server = Server::start().await;
    let answer = |path: &'static str, document: Value| {
        let mut documents = server.documents.lock().unwrap();
        documents.as_mut().unwrap().insert(path, document);
    };
    let is_away = async || {
        let keys = server.keys(TIMES);
        matches!(keys.named("one").await, Err(Wrong::IssuerAway))
    };
    let discovery = "/.well-known/openid-configuration";
    server.give(json!([ed("one")]));
    let uri = format!("{}/keys", server.url);
    answer(
        discovery,
        json!({"issuer": "https://other.example", "jwks_uri": uri}),
    );
    assert!(is_away().await);
    let plain = "http://keys.example/keys";
    answer(discovery, json!({"issuer": server.url, "jwks_uri": plain}));
    assert!(is_away().await);
    server.give(json!([ed("one"), "x".repeat(LARGEST)]));
    assert!(is_away().await);
    server.give(json!(vec![ed("one"); MOST_KEYS + 1]));
    assert!(is_away().await);
    server.give(json!([]));
    assert!(is_away().await);
    server.give(json!([ed("one")]));
    assert!(!is_away().await);
}
