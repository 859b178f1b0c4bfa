//! From a request to its job: until the gateway answers, and until the job's process is there.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gatehouse_tests::{Gateway, eventually};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::numbers::{Row, Sample};
use crate::setting;

const TASKS: usize = 20;

pub async fn measure() -> Vec<Row> {
    let gateway = setting::gateway(&[]).await;
    let request = gateway.request_with(
        "exit without a result",
        json!({"callbackUrl": "http://127.0.0.1:59999/"}),
    );
    let (mut answered, mut spawned, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TASKS {
        let (sent, since) = (setting::now(), Instant::now());
        let id = gateway.run_async(&request).await;
        answered.push(since.elapsed());
        spawned.push(started(&gateway, &id).await.saturating_sub(sent));
        gateway.ended(&id).await;
        bare.push(spawn());
    }
    setting::end(gateway).await;
    let bare = Sample::of(bare);
    vec![
        Row::new("`POST /run-async` to 202", Sample::of(answered))
            .beside("bare spawn of the binary", bare.clone()),
        Row::new("`POST /run-async` to job spawned", Sample::of(spawned))
            .beside("bare spawn of the binary", bare),
    ]
}

/// When the job of a task was there, by the gateway's log: the line is written when `spawn` returns.
async fn started(gateway: &Gateway, id: &str) -> Duration {
    eventually("the job is started", || async {
        let log = gateway.log();
        let line = log
            .lines()
            .rev()
            .find(|line| line.contains("started a job") && line.contains(id))?;
        let line: Value = serde_json::from_str(line).ok()?;
        let time: Timestamp = line["time"].as_str()?.parse().ok()?;
        Duration::try_from(time.as_duration()).ok()
    })
    .await
}

/// Until `spawn` returns, which is after `exec`.
fn spawn() -> Duration {
    let since = Instant::now();
    let mut child = Command::new(gatehouse_tests::binary())
        .arg("--version")
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let took = since.elapsed();
    child.wait().expect("it ends");
    took
}
