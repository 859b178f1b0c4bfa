//! Control groups of version 2, used for one thing: `cgroup.kill` kills a whole tree at once,
//! processes being forked included.

use std::io;
use std::path::{Path, PathBuf};

/// A place below which groups can be made.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    parent: PathBuf,
}

impl Groups {
    /// The group that this process is in, if it can have children there.
    pub(super) fn find() -> Result<Self, String> {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let mount = mounts
            .iter()
            .map(Path::new)
            .find(|mount| mount.join("cgroup.procs").exists())
            .ok_or("cgroup v2 is not mounted")?;
        let own =
            std::fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let path = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .unwrap_or_default();
        let groups = Self {
            parent: mount.join(path),
        };
        let trial = groups
            .parent
            .join(format!("gatehouse.trial-{}", std::process::id()));
        std::fs::create_dir(&trial).map_err(|error| format!("no group can be made: {error}"))?;
        let can_kill = trial.join("cgroup.kill").exists();
        remove(&trial);
        if can_kill {
            Ok(groups)
        } else {
            Err("this kernel has no cgroup.kill".to_owned())
        }
    }

    /// Where the group of a task stands.
    pub(super) fn of_sandbox(&self, name: &str) -> PathBuf {
        self.parent.join(format!("gatehouse-{name}"))
    }

    /// Where the group of this process's canary stands.
    pub(super) fn of_canary(&self) -> PathBuf {
        self.parent
            .join(format!("gatehouse.canary-{}", std::process::id()))
    }
}

/// Moves the calling process into the group.
pub(super) fn join(group: &Path) -> io::Result<()> {
    std::fs::write(group.join("cgroup.procs"), "0")
}

/// Kills every process in the group and below. A group that is gone has none.
pub(super) fn kill(group: &Path) -> io::Result<()> {
    match std::fs::write(group.join("cgroup.kill"), "1") {
        Err(error) if is_gone(&error) => Ok(()),
        other => other,
    }
}

/// Whether a process is left in the group or below.
pub(super) fn is_populated(group: &Path) -> io::Result<bool> {
    match std::fs::read_to_string(group.join("cgroup.events")) {
        Ok(events) => Ok(events.lines().any(|line| line == "populated 1")),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the empty group and its empty children; what is not empty stays.
pub(super) fn remove(group: &Path) {
    let children = std::fs::read_dir(group).into_iter().flatten().flatten();
    for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
        let _ = std::fs::remove_dir(child.path());
    }
    let _ = std::fs::remove_dir(group);
}

fn is_gone(error: &io::Error) -> bool {
    // ENODEV: the group was removed between opening its file and using it.
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32)
}
