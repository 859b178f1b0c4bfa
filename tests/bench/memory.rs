//! What the gateway holds in memory when nothing happens, and for each follower.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;

use crate::idle::Idle;
use crate::numbers::{Row, Sample};
use crate::setting;

const FOLLOWERS: usize = 200;

pub async fn measure() -> Vec<Row> {
    let gateway = setting::gateway(&[]).await;
    let pid = setting::process(&gateway).pid;
    let resting = resident(pid).await;
    let request = gateway.request_with("say nothing", json!({"detach": true}));
    let hangs = gateway.run(&request).await;
    gateway.process_named("misbehaving-cli").await;
    let path = format!("{}/tasks/{}/events", gateway.url, hangs.task_id);
    let follower = growth(pid, &path).await;
    drop(hangs);
    setting::end(gateway).await;

    let idle = Idle::start().await;
    let idle_resting = resident(idle.pid()).await;
    let idle_follower = growth(idle.pid(), &format!("{}/tasks/none/events", idle.url)).await;
    let mib = |kib: f64| Sample::new([kib / 1024.0], "MiB");
    let kib = |kib: f64| Sample::new([kib], "KiB");
    vec![
        Row::new("memory of an idle gateway", mib(resting))
            .beside("the same server doing nothing", mib(idle_resting)),
        Row::new(
            format!("memory of one of {FOLLOWERS} followers"),
            kib(follower),
        )
        .beside("the same server doing nothing", kib(idle_follower)),
    ]
}

/// Once it has settled.
async fn resident(pid: i32) -> f64 {
    tokio::time::sleep(Duration::from_secs(1)).await;
    setting::memory(pid, "VmRSS")
}

/// What each follower adds.
async fn growth(pid: i32, path: &str) -> f64 {
    let client = reqwest::Client::new();
    let before = resident(pid).await;
    let mut followers = Vec::new();
    for _ in 0..FOLLOWERS {
        let answer = client.get(path).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        let mut bytes = answer.bytes_stream();
        bytes.next().await.expect("the first event").expect("read");
        followers.push(bytes);
    }
    let after = resident(pid).await;
    drop(followers);
    (after - before) / FOLLOWERS as f64
}
