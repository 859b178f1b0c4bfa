//! From `gatehouse serve` to its first line, which it writes once it takes requests. Its plugins
//! were compiled by an earlier start.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::numbers::{Row, Sample};
use crate::setting;

const STARTS: usize = 15;

pub async fn measure() -> Vec<Row> {
    let mut gateway = setting::gateway(&[]).await;
    let mut ready = Vec::new();
    let mut version = Vec::new();
    for _ in 0..STARTS {
        gateway.stop().await;
        let since = Instant::now();
        gateway.start_again().await;
        ready.push(since.elapsed());
        let since = Instant::now();
        let ended = Command::new(gatehouse_tests::binary())
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        assert!(ended.expect("it runs").success());
        version.push(since.elapsed());
    }
    setting::end(gateway).await;
    vec![
        Row::new("start of the gateway to ready, warm", Sample::of(ready))
            .beside("`gatehouse --version`, start to end", Sample::of(version))
            .p50_below(150_000.0),
    ]
}
