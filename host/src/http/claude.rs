//! Whether the agent's CLI is there, and which.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::agent;

/// An answer holds for so long.
const FRESH: Duration = Duration::from_secs(60);

/// The CLI must tell its version in this time.
const LIMIT: Duration = Duration::from_secs(10);

/// Its version is a line.
const MAX_VERSION: usize = 100;

/// The CLI as configured.
#[derive(Debug)]
pub struct ClaudeCli {
    configured: Option<PathBuf>,
    /// Whoever starts the CLI holds it, so that many who ask at once start one.
    last: Mutex<Option<(Instant, Value)>>,
}

impl ClaudeCli {
    /// By `agent.claude_bin`.
    pub fn new(configured: Option<PathBuf>) -> Self {
        Self {
            configured,
            last: Mutex::new(None),
        }
    }

    /// `{"cliAvailable","version"?}`; asked for at most once a minute, by starting it.
    pub async fn report(&self) -> Value {
        self.report_by(async || {
            let binary = agent::find_binary(self.configured.as_deref())?;
            version(&binary).await
        })
        .await
    }

    async fn report_by(&self, version: impl AsyncFnOnce() -> Option<String>) -> Value {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let report = match version().await {
            Some(version) => json!({ "cliAvailable": true, "version": version }),
            None => json!({ "cliAvailable": false }),
        };
        *last = Some((Instant::now(), report.clone()));
        report
    }
}

async fn version(binary: &Path) -> Option<String> {
    let mut command = Command::new(binary);
    command
        .arg("--version")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .ok()?
        .ok()?;
    let text = String::from_utf8(output.stdout)
        .ok()
        .filter(|_| output.status.success())?;
    Some(text.lines().next()?.chars().take(MAX_VERSION).collect())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_version_is_the_first_line_of_a_program_that_ends_well() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        assert_eq!(
            version(&script("good", "echo 2.1.330; echo more"))
                .await
                .as_deref(),
            Some("2.1.330")
        );
        assert_eq!(version(&script("bad", "echo 2.1.330; exit 1")).await, None);
        assert_eq!(version(&folder.path().join("none")).await, None);
    }

    #[tokio::test]
    async fn many_who_ask_at_once_start_the_cli_once() {
        let claude = ClaudeCli::new(None);
        let starts = std::sync::atomic::AtomicU32::new(0);
        let start = async || {
            starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some("2.1.330".to_owned())
        };
        let reports = (0..20).map(|_| claude.report_by(start));
        let expected = json!({ "cliAvailable": true, "version": "2.1.330" });
        for report in futures::future::join_all(reports).await {
            assert_eq!(report, expected);
        }
        assert_eq!(starts.into_inner(), 1);
    }
}
