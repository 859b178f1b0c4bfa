//! What a process gives up before it becomes the agent's.
//!
//! Everything here is applied to the calling process, in `guard-exec`, which is single-threaded and
//! about to execute something else. The order matters: what needs privilege comes before it is lost.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, fchown, setgroups, setresgid, setresuid, setsid};
use serde::{Deserialize, Serialize};

/// Resource limits, each lowered to what this process may still set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Processes of the agent's uid. Ignored where it shares the service's uid, whose processes
    /// would count as well.
    pub(super) processes: u64,
    pub(super) open_files: u64,
    /// Bytes.
    pub(super) file_size: u64,
}

/// Where a process goes and what it loses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Confinement {
    /// Uid and gid. None: it keeps ours.
    pub(super) uid: Option<u32>,
    pub(super) limits: Limits,
    /// Directory of the cgroup to join.
    pub(super) cgroup: Option<OsString>,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub(super) struct Refused {
    pub(super) step: &'static str,
    #[source]
    pub(super) source: io::Error,
}

/// Names the step that failed.
pub(super) fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Refused {
    move |source| Refused {
        step,
        source: source.into(),
    }
}

impl Confinement {
    /// Confines the calling process for good.
    pub(super) fn apply(&self) -> Result<(), Refused> {
        if let Some(cgroup) = &self.cgroup {
            super::cgroup::join(Path::new(cgroup)).map_err(step("join the cgroup"))?;
        }
        // A session of its own: no terminal, and no signal meant for ours.
        setsid().map_err(step("start a session"))?;
        self.apply_limits()?;
        // Where memory runs out, the agent goes first and not what watches over it. Without privilege
        // it may not say so, for a process that is closed to others is to itself as well.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        if let Some(uid) = self.uid {
            become_user(uid)?;
        }
        nix::sys::prctl::set_no_new_privs().map_err(step("give up new privileges"))?;
        // The guard blocks signals, which is inherited.
        SigSet::empty()
            .thread_set_mask()
            .map_err(step("unblock signals"))?;
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        Ok(())
    }

    /// The resources with the values they must have afterwards.
    pub(super) fn limits(&self) -> Vec<(Resource, u64)> {
        let mut limits = vec![
            (Resource::RLIMIT_NOFILE, self.limits.open_files),
            (Resource::RLIMIT_FSIZE, self.limits.file_size),
            // A core file holds the environment.
            (Resource::RLIMIT_CORE, 0),
        ];
        if self.uid.is_some() {
            limits.push((Resource::RLIMIT_NPROC, self.limits.processes));
        }
        limits
    }

    fn apply_limits(&self) -> Result<(), Refused> {
        for (resource, wanted) in self.limits() {
            let (_, highest) = getrlimit(resource).map_err(step("read a resource limit"))?;
            let limit = wanted.min(highest);
            setrlimit(resource, limit, limit).map_err(step("set a resource limit"))?;
        }
        Ok(())
    }
}

fn become_user(number: u32) -> Result<(), Refused> {
    let (uid, gid) = (Uid::from_raw(number), Gid::from_raw(number));
    // The pipes behind standard input and output are ours; without this, `> /dev/stderr` in a
    // script of the agent's would be refused.
    let owned =
        |result: nix::Result<()>| result.map_err(step("hand over standard input and output"));
    owned(fchown(io::stdin(), Some(uid), Some(gid)))?;
    owned(fchown(io::stdout(), Some(uid), Some(gid)))?;
    owned(fchown(io::stderr(), Some(uid), Some(gid)))?;
    setgroups(&[]).map_err(step("drop supplementary groups"))?;
    setresgid(gid, gid, gid).map_err(step("change the group id"))?;
    setresuid(uid, uid, uid).map_err(step("change the user id"))
}

/// Asks the kernel to kill this process with its parent, which must be `parent` still. A change of
/// user forgets the request, so it comes after [`Confinement::apply`].
pub(super) fn die_with(parent: i32) -> Result<(), Refused> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("tie its life to the guard's"))?;
    if nix::unistd::getppid().as_raw() != parent {
        return Err(Refused {
            step: "find the guard",
            source: io::ErrorKind::NotFound.into(),
        });
    }
    Ok(())
}
