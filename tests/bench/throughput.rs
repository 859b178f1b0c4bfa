//! How many tasks `/run-async` takes in a second: validators, sealing, and a record that survives a
//! loss of power; beside a handler that does nothing, and beside the disk's own limit for the two
//! files that each task is.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::idle::Idle;
use crate::numbers::{Row, Sample};
use crate::setting;

/// Callers at once.
const CALLERS: usize = 16;
/// One round, short because what it leaves has to be removed again; the rate of each is one measurement.
const ROUND: Duration = Duration::from_millis(500);
const ROUNDS: usize = 7;

pub async fn measure() -> Vec<Row> {
    // One job that hangs has the only place, so that jobs take nothing of the two cores.
    let gateway = setting::gateway(&[
        ("MAX_CONCURRENT_TASKS", "1"),
        ("GATEHOUSE__QUEUE__MAX_WAITING", "1000000"),
    ])
    .await;
    let request = gateway.request_with(
        "say nothing",
        json!({"callbackUrl": "http://127.0.0.1:59999/"}),
    );
    let _hangs = gateway.run_async(&request).await;
    gateway.process_named(" run-job").await;
    let idle = Idle::start().await;
    let (mut ours, mut nothing, mut disk) = (Vec::new(), Vec::new(), Vec::new());
    // In turns, so that what else the machine does meets all three.
    for _ in 0..ROUNDS {
        ours.push(rate(&gateway.url, &request).await);
        disk.push(rate_of_the_disk(&gateway.data()));
        nothing.push(rate(&idle.url, &request).await);
    }
    setting::end(gateway).await;
    let [ours, nothing, disk] = [ours, nothing, disk].map(|rates| Sample::new(rates, "/s"));
    vec![
        Row::new("`/run-async` accepted", ours.clone())
            .beside("the same server doing nothing", nothing),
        Row::new("`/run-async` accepted", ours).beside("two synced files and nothing else", disk),
    ]
}

async fn rate(url: &str, request: &Value) -> f64 {
    let client = reqwest::Client::new();
    let url = format!("{url}/run-async");
    let body = request.to_string();
    let since = Instant::now();
    let callers = (0..CALLERS).map(|_| {
        let (client, url, body) = (client.clone(), url.clone(), body.clone());
        tokio::spawn(async move {
            let mut accepted = 0_u64;
            while since.elapsed() < ROUND {
                let request = client.post(&url).header("content-type", "application/json");
                let answer = request.body(body.clone()).send().await.expect("an answer");
                assert_eq!(answer.status(), 202);
                answer.bytes().await.expect("a body");
                accepted += 1;
            }
            accepted
        })
    });
    let mut accepted = 0;
    for caller in futures::future::join_all(callers).await {
        accepted += caller.expect("no panic");
    }
    accepted as f64 / since.elapsed().as_secs_f64()
}

/// What a task costs at least: two files in a directory of their own, each synced before it is put
/// under its name, and the directories' entries synced.
fn rate_of_the_disk(directory: &Path) -> f64 {
    let directory = directory.join("limit");
    fs::create_dir_all(&directory).expect("made");
    let since = Instant::now();
    let writers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let directory = directory.clone();
            std::thread::spawn(move || {
                let mut tasks = 0_u64;
                while since.elapsed() < ROUND {
                    let task = directory.join(uuid::Uuid::new_v4().to_string());
                    fs::create_dir(&task).expect("made");
                    sync(&directory);
                    for name in ["payload", "record"] {
                        let mut file = File::create(task.join("new")).expect("made");
                        file.write_all(&[b'x'; 1000]).expect("written");
                        file.sync_all().expect("synced");
                        fs::rename(task.join("new"), task.join(name)).expect("renamed");
                        sync(&task);
                    }
                    tasks += 1;
                }
                tasks
            })
        })
        .collect();
    let written = writers
        .into_iter()
        .map(|writer| writer.join().expect("no panic"));
    written.sum::<u64>() as f64 / since.elapsed().as_secs_f64()
}

fn sync(directory: &Path) {
    let opened = File::open(directory).expect("a directory");
    opened.sync_all().expect("synced");
}
