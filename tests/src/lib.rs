//! What makes a test read as four sentences: a real gateway on port 0 with a data directory of its
//! own, the scripted model behind it, a client that reads event streams, a receiver of webhooks.
//!
//! With `TESTS_ON=cloud` each gateway keeps and runs everything in a cloud of its own, see [`on_cloud`].
//!
//! Every gateway is given canary secrets; [`Gateway::stop`] looks for them in every byte that was
//! produced, and for processes that were left behind.

pub mod canary;
pub mod cloud_run;
mod compiled;
pub mod component;
pub mod elsewhere;
pub mod gateway;
pub mod git_server;
pub mod issuer;
mod job_logs;
mod kept;
pub mod manifest;
pub mod processes;
pub mod receiver;
pub mod registry;
pub mod stream;
pub mod upstream;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use cloud_run::{BUCKET, CloudRun};
pub use elsewhere::Elsewhere;
pub use gateway::Gateway;
pub use git_server::GitServer;
pub use issuer::Issuer;
pub use kept::on_cloud;
pub use receiver::Receiver;
pub use registry::Registry;
pub use stream::{Event, Stream};

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
}

/// The binary that `cargo build` made beside this test, or the one named by `GATEHOUSE_BIN`.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("GATEHOUSE_BIN") {
        return named.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/test");
    let binary = profile.join("gatehouse");
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build` first",
        binary.display()
    );
    binary
}

/// Asks again until `probe` has an answer. Fails the test after `patience`: how long something may
/// take on a busy machine, not how long it should.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let patience = Duration::from_secs(120);
    let started = Instant::now();
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(
            started.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Everything that a request to the model says: its system prompt and the texts of its messages.
pub fn words_of(body: &serde_json::Value) -> String {
    fn texts(value: &serde_json::Value, all: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) => all.push(text.clone()),
            serde_json::Value::Array(blocks) => {
                for block in blocks {
                    texts(&block["text"], all);
                    texts(&block["content"], all);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    texts(&body["system"], &mut all);
    texts(&body["messages"], &mut all);
    all.join("\n")
}
