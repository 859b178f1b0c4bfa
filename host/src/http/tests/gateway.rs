//! The gateway under test and what its callers say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{Sources, load};
use crate::http::serve;
use crate::task::{TaskId, names};

/// Ends at once, without a word.
pub(super) const DIES: &str = "exit 1";
/// Does not end by itself.
pub(super) const HANGS: &str = "exec sleep 600";

pub(super) struct Gateway {
    directory: TempDir,
    pub(super) app: Arc<App>,
    client: reqwest::Client,
    url: String,
    pub(super) shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Gateway {
    pub(super) async fn start(job: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), job, settings).await
    }

    pub(super) async fn start_in(directory: TempDir, job: &str, settings: &[(&str, &str)]) -> Self {
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("manifest.toml"), "# No plugin here.\n").unwrap();
        // Of its own: the shell of an earlier gateway's job may only now come to read its script.
        let script = path(&format!("job-{}", uuid::Uuid::new_v4()));
        std::fs::write(&script, format!("#!/bin/sh\n{job}\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut environment: BTreeMap<String, String> = BTreeMap::from([
            ("GATEHOUSE_DATA_DIR".to_owned(), path("data")),
            ("GATEHOUSE_PLUGINS".to_owned(), path("manifest.toml")),
            ("GATEHOUSE__JOB__WORK_DIR".to_owned(), path("work")),
            ("GATEHOUSE__JOB__CANCEL_GRACE".to_owned(), "50ms".to_owned()),
            ("GATEHOUSE__JOB__HEARTBEAT".to_owned(), "1s".to_owned()),
        ]);
        environment.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let config = load(&Sources {
            environment,
            ..Sources::default()
        })
        .unwrap();
        let job_env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        let app = App::build(config, script.into(), job_env).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(Arc::clone(&app), listener, shutdown.clone()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            directory,
            app,
            client,
            url,
            shutdown,
            serving,
        }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    pub(super) fn data_dir(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    pub(super) async fn over(&self, id: &TaskId) -> crate::task::Record {
        let mut hints = self.app.tasks.bucket().watch(&names::session(id));
        loop {
            let record = self.app.tasks.get(id).await.unwrap().unwrap();
            if record.status.is_terminal() {
                return record;
            }
            hints.changed(std::time::Duration::from_millis(200)).await;
        }
    }

    /// As at SIGTERM; what is on disk stays.
    pub(super) async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.serving.await.unwrap();
        self.app.stop().await;
        self.directory
    }
}

pub(super) fn task() -> Value {
    json!({ "prompt": "say hello", "anthropicApiKey": "sk-ant-for-tests-only" })
}

pub(super) fn task_with(fields: Value) -> Value {
    let mut task = task();
    task.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    task
}

pub(super) fn async_task(id: &str) -> Value {
    task_with(json!({ "taskId": id, "callbackUrl": "http://127.0.0.1:8099/hook?token=secret" }))
}

/// The answer is a problem of this status and code; its body.
pub(super) async fn problem(answer: Response, status: u16, code: &str) -> Value {
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let got = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert_eq!((got, &body["code"]), (status, &json!(code)), "{body}");
    assert_eq!(body["requestId"], json!(id));
    assert!(body["error"].is_string());
    body
}
