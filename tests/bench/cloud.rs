//! From a line that the CLI wrote to its bytes at a follower, where the log lies in Cloud Storage and each of its
//! answers takes 50 ms, as from another region.

use std::time::Duration;

use fake_google::FakeGoogle;

use crate::numbers::{Row, Sample};
use crate::{setting, stream};

const LATENCY: Duration = Duration::from_millis(50);
/// Tasks whose first line is waited for.
const TASKS: usize = 12;
/// What a task's follower may wait, in microseconds.
const WANTED: (f64, f64) = (400_000.0, 1_000_000.0);

pub async fn measure() -> Vec<Row> {
    let google = FakeGoogle::start().await.expect("a free port");
    let gateway = setting::gateway(&[
        ("GCS_LOGS_BUCKET", "logs"),
        ("GATEHOUSE__GOOGLE__ENDPOINT", &google.url()),
        ("GATEHOUSE__ENVELOPE__KEYS", "local"),
        ("GATEHOUSE__JOB__LAUNCHER", "local"),
    ])
    .await;
    google.set_latency(LATENCY);
    let mut first = Vec::new();
    for _ in 0..TASKS {
        let took = stream::followed(&gateway, "tell the time: 1 of 1 every 100").await;
        first.extend(took.first());
    }
    let trickle = stream::followed(&gateway, "tell the time: 60 of 1 every 100").await;
    setting::end(gateway).await;
    [
        ("a task's first line", first),
        ("single lines, 10 a second", trickle),
    ]
    .map(|(what, took)| {
        let what = format!("CLI line to follower through Cloud Storage, 50 ms away: {what}");
        Row::new(what, Sample::of(took))
            .p50_below(WANTED.0)
            .p99_below(WANTED.1)
    })
    .into()
}
