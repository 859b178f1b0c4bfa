//! Registries behind something of ours: a token server, and a storage that leads astray.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use gatehouse_tests::manifest::guest;
use gatehouse_tests::registry::{self, Registry};

use super::{refused, said};

const TOKEN: &str = "canary-registry-token";

/// What stands before a registry.
#[derive(Clone)]
struct Front {
    registry: String,
    own: String,
    /// Where blobs are said to be.
    storage: Option<&'static str>,
    tokens: Arc<AtomicUsize>,
}

impl Front {
    async fn start(registry: &Registry, storage: Option<&'static str>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            registry: registry.host.clone(),
            own: listener.local_addr().unwrap().to_string(),
            storage,
            tokens: Arc::default(),
        };
        let behind = front.clone();
        let answer = move |request: Request| {
            let front = behind.clone();
            async move { front.answer(request).await }
        };
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(answer))
                .await
                .unwrap();
        });
        front
    }

    async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path();
        let shown = |headers: &HeaderMap| {
            let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let shown = shown(request.headers()).unwrap_or_default();
        if path == "/token" {
            let query = request.uri().query().unwrap_or_default();
            assert!(
                query.contains("service=tests")
                    && query.contains("scope=repository%3Aguard%3Apull")
            );
            if !shown.starts_with("Basic ") {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            self.tokens.fetch_add(1, Ordering::SeqCst);
            return format!("{{\"token\": \"{TOKEN}\"}}").into_response();
        }
        if shown != format!("Bearer {TOKEN}") {
            let challenge = format!(
                "Bearer realm=\"http://{}/token\",service=\"tests\",scope=\"repository:guard:pull,push\"",
                self.own
            );
            return (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, challenge)],
            )
                .into_response();
        }
        match self.storage {
            Some(elsewhere) if path.contains("/blobs/sha256:") && request.method() == "GET" => {
                Redirect::temporary(elsewhere).into_response()
            }
            _ => self.pass(request).await,
        }
    }

    /// What the registry itself says, who shall not see the token.
    async fn pass(&self, request: Request) -> Response {
        let url = format!("http://{}{}", self.registry, request.uri());
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, 64 << 20).await.unwrap();
        let mut passed = reqwest::Client::new().request(parts.method, url).body(body);
        for name in [header::CONTENT_TYPE, header::ACCEPT] {
            if let Some(value) = parts.headers.get(&name) {
                passed = passed.header(name, value.clone());
            }
        }
        let answer = passed.send().await.unwrap();
        let mut response = Response::builder().status(answer.status());
        for name in [header::LOCATION, header::CONTENT_TYPE] {
            if let Some(value) = answer.headers().get(&name) {
                let value = value.to_str().unwrap().replace(&self.registry, &self.own);
                response = response.header(name, value);
            }
        }
        response
            .body(Body::from(answer.bytes().await.unwrap()))
            .unwrap()
    }
}

#[tokio::test]
async fn a_token_is_fetched_with_the_password_and_shown_to_the_registry_alone() {
    let behind = Registry::start().await;
    let front = Front::start(&behind, None).await;
    let source = format!("oci://{}/guard:1", front.own);
    let settings = registry::settings(&front.own, Some("canary-of-the-token-server"));
    let component = guest("denies-all").display().to_string();
    let output = registry::plugin(&settings, &[], &["push", &component, &source]).await;
    said(&output);
    assert!(
        front.tokens.load(Ordering::SeqCst) >= 2,
        "one to push, one to have it back"
    );
    let shown = format!("{output:?}");
    assert!(!shown.contains("canary"), "{shown}");

    let nameless = registry::settings(&front.own, None);
    let output = registry::plugin(&nameless, &[], &["pull", &source, "-o", "out"]).await;
    assert!(
        refused(&output).contains("its token server refuses that"),
        "{output:?}"
    );
}

#[tokio::test]
async fn a_registry_leads_nobody_to_an_address_that_is_not_permitted() {
    let behind = Registry::start().await;
    behind.push(&guest("denies-all"), "guard:1").await;
    let front = Front::start(&behind, Some("https://169.254.169.254/latest")).await;
    let settings = registry::settings(&front.own, Some("canary-of-the-token-server"));
    let source = format!("oci://{}/guard:1", front.own);
    let output = registry::plugin(&settings, &[], &["pull", &source, "-o", "out"]).await;
    let error = refused(&output);
    assert!(
        error.contains("169.254.169.254 is not a public address"),
        "{error}"
    );
    assert!(!error.contains("canary"), "{error}");
}
