//! What separates the agent from everything else, and proof of it.
//!
//! Levels are seams: `none` and `uid` stand here today; namespaces, landlock and seccomp come above
//! them. A layer counts only if it was proved when the process started. Does not know what runs
//! inside, and does not restrict the network. Relies on Linux, on `/proc`, and on this binary being
//! able to start itself again (`guard`).
//!
//! Each program of a task runs below a [`guard`] of its own, which outlives it and every process it
//! leaves behind. Three things find a process that belongs to a task: it descends from the guard, it
//! is in the task's cgroup, it runs under the task's uid. Any one of them is enough to be killed.

mod beneath;
mod cgroup;
mod confinement;
mod detect;
pub mod guard;
mod leftovers;
mod processes;
mod removal;
mod sandbox;
mod scope;
mod supervised;
mod uid_pool;
mod work_root;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::task::TaskId;

use cgroup::Groups;
use confinement::Limits;
use scope::Record;
use uid_pool::UidPool;

pub use sandbox::{Program, Sandbox};
pub use supervised::{Ended, Supervised};

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
        source: io::Error,
    },
}

/// Name of a task's second sandbox. No task has a name with a dot.
fn git_name(id: &TaskId) -> String {
    format!("{id}.git")
}

/// Says what was tried when the system refused.
fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> IsolationError {
    let what = what.into();
    move |source| IsolationError::System {
        what,
        source: source.into(),
    }
}

/// Makes this process unreadable for every other that is not root: no `/proc/…/environ`, no `mem`,
/// no ptrace, no core file. `exec` undoes it, so `main` calls this before anything else.
pub fn harden_self() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// What this machine can do, proved once per process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Isolation {
    facts: Arc<Facts>,
}

/// What [`Isolation::detect`] found out.
#[derive(Debug)]
struct Facts {
    level: Level,
    report: Value,
    data_dir: PathBuf,
    work_root: PathBuf,
    /// None at level `none`.
    uids: Option<UidPool>,
    groups: Option<Groups>,
    limits: Limits,
    /// The binary that knows `guard` and `guard-exec`.
    guard: PathBuf,
}

impl Isolation {
    /// Tries each layer and notes what holds and what is missing with the reason.
    ///
    /// # Errors
    /// [`IsolationError::BelowMinimum`], or `System` where not even a place to work can be made.
    pub fn detect(config: &Config) -> Result<Self, IsolationError> {
        Self::detect_with(&detect::Surroundings {
            data_dir: &config.data_dir,
            work_dir: config.job.work_dir.as_deref(),
            settings: &config.isolation,
            // Not the path of the binary: that may be replaced while we run.
            guard: Path::new("/proc/self/exe"),
        })
    }

    fn detect_with(surroundings: &detect::Surroundings<'_>) -> Result<Self, IsolationError> {
        detect::detect(surroundings).map(|facts| Self {
            facts: Arc::new(facts),
        })
    }

    /// The level that holds.
    pub fn level(&self) -> Level {
        self.facts.level
    }

    /// The user ids that agents may have, first and last; none at level `none`.
    pub fn agent_uids(&self) -> Option<(u32, u32)> {
        self.facts.uids.as_ref().map(UidPool::range)
    }

    /// For `/health?verbose=true` and the record: `{"level","minimum","layers":{…},"egress",
    /// "workRoot","degraded":[{"layer","reason","effect"}],"canary":{"passed","failed","at"}}`.
    pub fn report(&self) -> Value {
        self.facts.report.clone()
    }

    /// Where workspaces go: `job.work_dir`, else `{data_dir}/work` if the agent's user can reach it,
    /// else below `/var/tmp`.
    pub fn work_root(&self) -> PathBuf {
        self.facts.work_root.clone()
    }

    /// A path under which the agent's user can execute `binary`: the path itself where every
    /// directory above it is open to others, else a link or copy below the work root, made once.
    ///
    /// # Errors
    /// Where the file cannot be read or the copy not be made.
    pub fn reachable_binary(&self, binary: &Path) -> Result<PathBuf, IsolationError> {
        if self.facts.level == Level::None {
            return Ok(binary.to_owned());
        }
        work_root::reachable_binary(&self.facts.work_root, binary)
    }

    /// Takes a uid of the pool (held by a file lock until this process ends), makes
    /// `{work_root}/{id}/{workspace,home,tmp}` owned by it, and a cgroup where one can be had.
    /// Whatever still runs under that uid or stands under that name is removed first.
    ///
    /// # Errors
    /// [`IsolationError::PoolExhausted`], or `System`.
    pub fn sandbox(&self, id: &TaskId) -> Result<Arc<Sandbox>, IsolationError> {
        self.open(id.to_string())
    }

    /// A second sandbox of the same task, of another uid, for git and ssh that hold the task's
    /// credentials: what they parse comes from strangers, and the agent must not reach them.
    ///
    /// # Errors
    /// As for [`Isolation::sandbox`].
    pub fn git_sandbox(&self, id: &TaskId) -> Result<Arc<Sandbox>, IsolationError> {
        self.open(git_name(id))
    }

    fn open(&self, name: String) -> Result<Arc<Sandbox>, IsolationError> {
        self.sweep_one(&name)?;
        Sandbox::open(&self.facts, name).map(Arc::new)
    }

    /// For whoever finds that a job died: kills every process of the task that is left and removes
    /// its directory. Safe to repeat.
    ///
    /// # Errors
    /// Where something could not be removed; what could was.
    pub fn sweep(&self, id: &TaskId) -> Result<(), IsolationError> {
        let agents = self.sweep_one(id.as_str());
        self.sweep_one(&git_name(id)).and(agents)
    }

    fn sweep_one(&self, name: &str) -> Result<(), IsolationError> {
        let directory = self.facts.work_root.join(name);
        let record =
            Record::read(&self.facts.data_dir, name).map_err(system("read a sandbox's record"))?;
        let Some(record) = record else {
            return removal::remove(&directory).map_err(system("remove a task's directory"));
        };
        // Whoever holds the slot now has killed all that ran under its uid when it took it.
        let slot = match (&self.facts.uids, record.scope.uid) {
            (Some(uids), Some(uid)) => uids.take_this(uid),
            _ => None,
        };
        let mut scope = record.scope;
        if slot.is_none() {
            scope.uid = None;
        }
        scope
            .kill()
            .map_err(system("kill what is left of a task"))?;
        removal::remove(&scope.directory).map_err(system("remove a task's directory"))?;
        removal::remove(&directory).map_err(system("remove a task's directory"))?;
        if let Some(slot) = &slot {
            leftovers::remove(slot.uid);
        }
        if let Some(group) = &scope.cgroup {
            cgroup::remove(group);
        }
        Record::delete(&self.facts.data_dir, name).map_err(system("delete a sandbox's record"))
    }
}
