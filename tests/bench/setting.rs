//! What every part needs: a gateway with the stand-in CLI, and its end with nothing left behind.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatehouse_tests::processes::{self, Process};
use gatehouse_tests::{Gateway, eventually};

/// The stand-in.
pub const CLI: &str = env!("CARGO_BIN_EXE_misbehaving-cli");

/// A gateway in its usual form, quiet, with the stand-in for the CLI.
pub async fn gateway(settings: &[(&str, &str)]) -> Gateway {
    let mut builder = Gateway::with()
        .env("GATEHOUSE_CLAUDE_BIN", CLI)
        .env("LOG_LEVEL", "info")
        .env("GATEHOUSE__AGENT__FIRST_EVENT_TIMEOUT", "10m");
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    builder.start().await
}

/// The gateway's own process.
pub fn process(gateway: &Gateway) -> Process {
    let data = gateway.data();
    let root = data.parent().expect("below the root");
    processes::named(root, " serve")
        .into_iter()
        .next()
        .expect("it runs")
}

/// Ends the gateway, its jobs and whatever they started.
pub async fn end(mut gateway: Gateway) {
    gateway.kill().await;
    eventually("no process is left", || async {
        let left = gateway.processes();
        left.iter().for_each(Process::kill);
        left.is_empty().then_some(())
    })
    .await;
}

/// The time of day, which processes of one machine share.
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}

/// A line of `/proc/PID/status` in KiB.
pub fn memory(pid: i32, line: &str) -> f64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))
        .expect("it runs");
    let found = status
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    let value = found.and_then(|found| found.split_whitespace().next()?.parse().ok());
    value.expect("a number of KiB")
}
