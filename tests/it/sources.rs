//! Components that servers give: pinned by their digest, fetched once, and asked for again while they are away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use gatehouse_tests::manifest::guest;
use gatehouse_tests::{Gateway, eventually};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A server of one component.
struct Server {
    url: String,
    there: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(there: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (there, asked) = (
            Arc::new(AtomicBool::new(there)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (is_there, count) = (Arc::clone(&there), Arc::clone(&asked));
        let answer = move |path: axum::http::Uri| {
            count.fetch_add(1, Ordering::SeqCst);
            let there = is_there.load(Ordering::SeqCst);
            std::future::ready(answer(path.path(), there))
        };
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(answer))
                .await
                .unwrap();
        });
        Self { url, there, asked }
    }
}

fn answer(path: &str, there: bool) -> Response {
    match (path, there) {
        (_, false) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        ("/latest", true) => Redirect::temporary("/v1/denies-all.wasm").into_response(),
        ("/large", true) => vec![0; (1 << 20) + 1].into_response(),
        ("/around", true) => Redirect::temporary("/around").into_response(),
        ("/metadata", true) => Redirect::temporary("http://169.254.169.254/token").into_response(),
        _ => std::fs::read(guest("denies-all")).unwrap().into_response(),
    }
}

fn manifest(url: &str, digest: &str) -> String {
    format!(
        "[[plugin]]\nname = \"denies-all\"\nworld = \"tool-permission\"\nsource = \"{url}\"\nsha256 = \"{digest}\"\n"
    )
}

fn digest() -> String {
    hex::encode(Sha256::digest(std::fs::read(guest("denies-all")).unwrap()))
}

fn write(gateway: &Gateway, manifest: &str) {
    std::fs::write(gateway.data().with_file_name("plugins.toml"), manifest).unwrap();
}

async fn gateway() -> Gateway {
    let shipped = gatehouse_tests::manifest::Manifest::shipped();
    Gateway::with()
        .scenario("one-bash-call")
        .plugins(&shipped)
        .env("GATEHOUSE__PLUGINS__MAX_COMPONENT_SIZE", "1MiB")
        .start()
        .await
}

/// The plugin's line, once it is as expected.
async fn line(gateway: &Gateway, expected: impl Fn(&Value) -> bool) -> Value {
    eventually("the plugin is as expected", || async {
        let status = gateway.get("/plugins").await;
        let mut plugins = status["plugins"].as_array()?.iter();
        let line = plugins.find(|plugin| plugin["name"] == "denies-all")?;
        Some(line.clone()).filter(&expected)
    })
    .await
}

#[tokio::test]
async fn a_component_is_fetched_once_and_a_server_that_goes_away_unloads_nothing() {
    let server = Server::start(true).await;
    let mut gateway = gateway().await;
    write(
        &gateway,
        &manifest(&format!("{}/latest", server.url), &digest()),
    );
    line(&gateway, |plugin| plugin["state"] == "active").await;
    assert_eq!(server.asked.load(Ordering::SeqCst), 2, "it was redirected");

    server.there.store(false, Ordering::SeqCst);
    gateway.stop().await;
    gateway.start_again().await;
    let request = gateway.request_with("run it", json!({"permissionMode": "bypassPermissions"}));
    let (report, _) = gateway.ends(&request).await;
    let decisions = gateway.decisions(report["taskId"].as_str().unwrap()).await;
    assert_eq!(
        (&decisions[0]["verdict"], &decisions[0]["digest"]),
        (&json!("deny"), &json!(digest()))
    );
    assert_eq!(
        server.asked.load(Ordering::SeqCst),
        2,
        "nobody had to ask again"
    );
}

#[tokio::test]
async fn a_server_that_is_away_is_asked_again_until_it_is_there() {
    let server = Server::start(false).await;
    let gateway = gateway().await;
    write(
        &gateway,
        &manifest(&format!("{}/p.wasm", server.url), &digest()),
    );
    let failed = line(&gateway, |plugin| {
        plugin["code"] == "plugin-source-unreachable"
    })
    .await;
    assert!(
        failed["error"].as_str().unwrap().contains("503"),
        "{failed}"
    );
    // The set without it goes on meanwhile.
    assert!(gateway.get("/plugins").await["revision"].is_string());
    server.there.store(true, Ordering::SeqCst);
    line(&gateway, |plugin| plugin["state"] == "active").await;
}

#[tokio::test]
async fn what_is_not_what_was_pinned_or_leads_astray_is_never_loaded() {
    let server = Server::start(true).await;
    let gateway = gateway().await;
    for (path, pinned, code, words) in [
        (
            "p.wasm",
            "0".repeat(64),
            "plugin-digest-mismatch",
            "SHA-256",
        ),
        (
            "large",
            digest(),
            "plugin-too-large",
            "more than 1048576 bytes",
        ),
        (
            "around",
            digest(),
            "plugin-source-unreachable",
            "more than 5 times",
        ),
        (
            "metadata",
            digest(),
            "plugin-source-unreachable",
            "redirects where nobody may go",
        ),
    ] {
        write(
            &gateway,
            &manifest(&format!("{}/{path}", server.url), &pinned),
        );
        line(&gateway, |plugin| {
            let error = plugin["error"].as_str().unwrap_or_default();
            plugin["code"] == code && error.contains(words)
        })
        .await;
    }
}
