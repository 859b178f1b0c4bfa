//! What belongs to a task's sandbox, written down so that any process can sweep it.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{cgroup, processes};

/// How the processes and files of a sandbox are told from all others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Scope {
    /// None at level `none`.
    pub(super) uid: Option<u32>,
    pub(super) cgroup: Option<PathBuf>,
    /// Holds `workspace`, `home` and `tmp`.
    pub(super) directory: PathBuf,
}

impl Scope {
    /// Kills until nothing is left. Blocks: milliseconds as a rule, longer while the kernel holds a
    /// process.
    pub(super) fn kill(&self) -> io::Result<()> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(group) = &self.cgroup {
                cgroup::kill(group)?;
            }
            let found = self.stragglers()?;
            processes::signal(&found, Signal::SIGKILL)?;
            let populated = self
                .cgroup
                .as_deref()
                .map_or(Ok(false), cgroup::is_populated)?;
            if found.is_empty() && !populated {
                return Ok(());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    fn stragglers(&self) -> io::Result<Vec<i32>> {
        match self.uid {
            Some(uid) => processes::of_uid(uid),
            None => processes::attached_to(&self.directory),
        }
    }
}

/// `{data_dir}/sandboxes/{name}.json`: stands for as long as the sandbox does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) scope: Scope,
}

impl Record {
    fn path(data_dir: &Path, name: &str) -> PathBuf {
        data_dir.join("sandboxes").join(format!("{name}.json"))
    }

    /// None where there is no sandbox of that name.
    pub(super) fn read(data_dir: &Path, name: &str) -> io::Result<Option<Self>> {
        match std::fs::read(Self::path(data_dir, name)) {
            // One that was cut short by a crash was written before anything was started.
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, data_dir: &Path, name: &str) -> io::Result<()> {
        let path = Self::path(data_dir, name);
        // Which tasks run, and as whom, is not for other tasks' agents to read.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir.join("sandboxes"))?;
        std::fs::write(path, serde_json::to_vec(self)?)
    }

    pub(super) fn delete(data_dir: &Path, name: &str) -> io::Result<()> {
        match std::fs::remove_file(Self::path(data_dir, name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}
