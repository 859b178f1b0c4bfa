//! From a line that the CLI wrote to its bytes at a follower, beside the same lines through a pipe.

use std::process::Stdio;
use std::time::Duration;

use gatehouse_tests::Gateway;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use crate::numbers::{Row, Sample};
use crate::setting;

/// What the stand-in is asked for.
const TRICKLE: (&str, &str) = (
    "single lines, 10 a second",
    "tell the time: 60 of 1 every 100",
);
const BURSTS: (&str, &str) = (
    "bursts of 50 lines, 4 a second",
    "tell the time: 20 of 50 every 250",
);

pub async fn measure() -> Vec<Row> {
    let gateway = setting::gateway(&[]).await;
    let mut rows = Vec::new();
    for (name, prompt) in [TRICKLE, BURSTS] {
        let piped = Sample::of(through_a_pipe(prompt).await);
        let followed = Sample::of(followed(&gateway, prompt).await);
        let row =
            Row::new(format!("CLI line to follower: {name}"), followed).beside("a pipe", piped);
        rows.push(row.p50_below(5000.0).p99_below(25_000.0));
    }
    setting::end(gateway).await;
    rows
}

pub async fn followed(gateway: &Gateway, prompt: &str) -> Vec<Duration> {
    let mut stream = gateway.run(&gateway.request(prompt)).await;
    let mut took = Vec::new();
    while let Some(event) = stream.next().await {
        let now = setting::now();
        took.extend(
            serde_json::from_str(&event.data)
                .ok()
                .and_then(|line| age(&line, now)),
        );
    }
    took
}

async fn through_a_pipe(prompt: &str) -> Vec<Duration> {
    let mut cli = Command::new(setting::CLI)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut stdin = cli.stdin.take().expect("piped");
    let user = json!({"type": "user", "message": {"role": "user", "content": prompt}});
    stdin
        .write_all(format!("{user}\n").as_bytes())
        .await
        .expect("it reads");
    drop(stdin);
    let mut lines = BufReader::new(cli.stdout.take().expect("piped")).lines();
    let mut took = Vec::new();
    while let Some(line) = lines.next_line().await.expect("text") {
        let now = setting::now();
        took.extend(
            serde_json::from_str(&line)
                .ok()
                .and_then(|line| age(&line, now)),
        );
    }
    cli.wait().await.expect("it ends");
    took
}

/// How long ago a line that tells the time was written.
fn age(line: &Value, now: Duration) -> Option<Duration> {
    let at = line.get("at")?.as_u64()?;
    Some(now.saturating_sub(Duration::from_nanos(at)))
}
