//! What separates the agent from everything else, and proof of it.
//!
//! Levels are seams: `none` and `uid` stand here today; namespaces, landlock and seccomp come above
//! them. A layer counts only if it was proved when the process started. Does not know what runs
//! inside. Relies on Linux.

mod sandbox;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::task::TaskId;

pub use sandbox::{Ended, Program, Sandbox, Supervised};

/// How far the agent is separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The agent runs as the service's own user.
    None,
    /// The agent has a uid of its own, from a pool.
    Uid,
}

/// Why a sandbox could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// What holds here is below `isolation.minimum`.
    #[error("isolation level `{have:?}` is below the configured minimum `{want:?}`: {why}")]
    BelowMinimum {
        /// Proved.
        have: Level,
        /// Configured.
        want: Level,
        /// What is missing.
        why: String,
    },
    /// Every uid of the pool is taken.
    #[error("every user id of the pool is in use")]
    PoolExhausted,
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// What this machine can do, proved once per process.
#[derive(Clone, Debug)]
pub struct Isolation {}

impl Isolation {
    /// Tries each layer and notes what holds and what is missing with the reason.
    pub fn detect(_config: &Config) -> Result<Self, IsolationError> {
        unimplemented!()
    }

    /// The level that holds.
    pub fn level(&self) -> Level {
        unimplemented!()
    }

    /// For `/health?verbose=true` and the record: `{"level","minimum","layers":{…},"egress",
    /// "degraded":[{"layer","reason","effect"}],"canary":{"passed","failed","at"}}`.
    pub fn report(&self) -> Value {
        unimplemented!()
    }

    /// Where workspaces go: `job.work_dir`, else `{data_dir}/work` if the agent's user can reach it,
    /// else below `/var/tmp`.
    pub fn work_root(&self) -> PathBuf {
        unimplemented!()
    }

    /// Takes a uid of the pool (held by a file lock until this process ends), makes
    /// `{work_root}/{id}/{workspace,home,tmp}` owned by it, and a cgroup where one can be had.
    /// Whatever still runs under that uid or stands under that name is removed first.
    pub fn sandbox(&self, _id: &TaskId) -> Result<Arc<Sandbox>, IsolationError> {
        unimplemented!()
    }

    /// For whoever finds that a job died: kills every process of the task that is left and removes
    /// its directory. Safe to repeat.
    pub fn sweep(&self, _id: &TaskId) -> Result<(), IsolationError> {
        unimplemented!()
    }
}
