//! The logs of jobs, kept for the search for secrets: a gateway removes those of jobs that ended well.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Much shorter than any job lives.
const LOOK: Duration = Duration::from_millis(50);

/// Gives each log a second name in `kept`, under which it outlives its removal. Ends with the runtime of
/// its test.
pub(crate) fn keep(logs: PathBuf, kept: PathBuf) {
    fs::create_dir_all(&kept).expect("writable");
    tokio::spawn(async move {
        loop {
            link(&logs, &kept);
            tokio::time::sleep(LOOK).await;
        }
    });
}

fn link(logs: &Path, kept: &Path) {
    let Ok(entries) = fs::read_dir(logs) else {
        return;
    };
    for entry in entries.flatten() {
        let name = kept.join(entry.file_name());
        if !name.exists() {
            // It may be gone by now: a log that short-lived is empty.
            let _ = fs::hard_link(entry.path(), name);
        }
    }
}
