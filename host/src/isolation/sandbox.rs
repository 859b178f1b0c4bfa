//! The place in which one task's programs run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::IsolationError;

/// What to run. The environment is exactly `env`.
#[derive(Clone, Debug)]
pub struct Program {
    /// Absolute.
    pub path: PathBuf,
    /// Holds no secret: every user of the machine can read it.
    pub args: Vec<OsString>,
    /// All of it.
    pub env: BTreeMap<OsString, OsString>,
    /// Absolute, inside the sandbox's directories.
    pub cwd: PathBuf,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// A task's place: directories, uid, cgroup. Dropped last of all.
#[derive(Debug)]
pub struct Sandbox {}

impl Sandbox {
    /// The agent's working tree.
    pub fn workspace(&self) -> &Path {
        unimplemented!()
    }

    /// The agent's `HOME`.
    pub fn home(&self) -> &Path {
        unimplemented!()
    }

    /// The agent's `TMPDIR`.
    pub fn tmp(&self) -> &Path {
        unimplemented!()
    }

    /// Writes a file that the agent may read: mode 0600, owned by its uid, parents made. `path` lies
    /// inside one of the directories above.
    pub fn write_for_agent(&self, _path: &Path, _content: &[u8]) -> Result<(), IsolationError> {
        unimplemented!()
    }

    /// Makes a directory that the agent owns, parents too.
    pub fn make_dir(&self, _path: &Path) -> Result<(), IsolationError> {
        unimplemented!()
    }

    /// Starts a program under the guard: own session, uid, limits, no new privileges; the whole tree
    /// dies with this process.
    pub fn spawn(&self, _program: &Program) -> Result<Supervised, IsolationError> {
        unimplemented!()
    }

    /// Kills everything that runs here; returns when nothing does.
    pub async fn kill_all(&self) -> Result<(), IsolationError> {
        unimplemented!()
    }

    /// [`Sandbox::kill_all`], then removes the directories, in bounded time and memory however deep
    /// the tree is.
    pub async fn close(&self) -> Result<(), IsolationError> {
        unimplemented!()
    }
}

/// A running program.
#[derive(Debug)]
pub struct Supervised {
    /// Its standard input; dropped to close it.
    pub stdin: Option<tokio::process::ChildStdin>,
    /// Taken by whoever reads it.
    pub stdout: Option<tokio::process::ChildStdout>,
    /// Taken by whoever reads it.
    pub stderr: Option<tokio::process::ChildStderr>,
}

impl Supervised {
    /// Waits for the program's end; its descendants are dead when this returns. Cancel-safe.
    pub async fn wait(&mut self) -> Result<Ended, IsolationError> {
        unimplemented!()
    }

    /// TERM to the tree, KILL after `grace`; returns when nothing of it is left.
    pub async fn terminate(&mut self, _grace: Duration) -> Result<Ended, IsolationError> {
        unimplemented!()
    }
}
