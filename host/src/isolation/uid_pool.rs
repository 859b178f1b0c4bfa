//! User ids for agents, one per sandbox, each held by a lock on a file.
//!
//! User ids belong to the machine, not to a data directory: two gateways with different data
//! directories must not share one. So the locks are in `/run`, and only where that cannot be
//! written in the data directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::{IsolationError, leftovers, processes, system};

/// A range of user ids.
#[derive(Clone, Debug)]
pub(super) struct UidPool {
    base: u32,
    count: u32,
    locks: PathBuf,
}

/// A user id that is ours until this drops.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) uid: u32,
    _lock: File,
}

impl UidPool {
    pub(super) fn new(base: u32, count: u32, data_dir: &Path) -> Result<Self, IsolationError> {
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        let shared = Path::new("/run/gatehouse/uids");
        let locks = match make(shared) {
            Ok(()) => shared.to_owned(),
            Err(_) => {
                let own = data_dir.join("uids");
                make(&own).map_err(system("make the directory of user id locks"))?;
                own
            }
        };
        Ok(Self { base, count, locks })
    }

    /// First and last, that of the canaries included.
    pub(super) fn range(&self) -> (u32, u32) {
        (self.base, Self::canary_uid(self.base, self.count))
    }

    /// A user id that no sandbox ever has: for canaries, which nobody may kill by their uid.
    pub(super) fn canary_uid(base: u32, count: u32) -> u32 {
        base.saturating_add(count)
    }

    /// Takes the first that is free, kills whatever still runs under it and removes what it left.
    /// One that has a name is somebody else's, and so are its processes and files.
    pub(super) fn take(&self) -> Result<Slot, IsolationError> {
        let slot = (self.base..self.base.saturating_add(self.count))
            .filter(|uid| !has_a_name(*uid))
            .find_map(|uid| self.lock(uid).transpose())
            .ok_or(IsolationError::PoolExhausted)?
            .map_err(system("lock a user id"))?;
        loop {
            let left =
                processes::of_uid(slot.uid).map_err(system("look for processes of a user id"))?;
            if left.is_empty() {
                leftovers::remove(slot.uid);
                return Ok(slot);
            }
            tracing::warn!(
                uid = slot.uid,
                count = left.len(),
                "killing processes that a job left behind"
            );
            processes::signal(&left, Signal::SIGKILL)
                .map_err(system("kill what a job left behind"))?;
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Takes this one, if nobody has it.
    pub(super) fn take_this(&self, uid: u32) -> Option<Slot> {
        self.lock(uid).ok().flatten()
    }

    fn lock(&self, uid: u32) -> io::Result<Option<Slot>> {
        let path = self.locks.join(format!("{uid}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Slot { uid, _lock: file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Whether the system knows a user of that id; one that it cannot tell of has none.
fn has_a_name(uid: u32) -> bool {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    if let Some(user) = &user {
        tracing::warn!(
            uid,
            user = user.name,
            "a user id of the pool is somebody's and left out"
        );
    }
    user.is_some()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    #[test]
    fn a_uid_is_given_out_once_and_again_after_it_was_dropped() {
        let directory = tempfile::tempdir().unwrap();
        // Ids that nothing runs under.
        let pool = UidPool {
            base: 3_999_000_000,
            count: 2,
            locks: directory.path().to_owned(),
        };
        let first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert_ne!(first.uid, second.uid);
        assert!(matches!(pool.take(), Err(IsolationError::PoolExhausted)));
        assert!(pool.take_this(first.uid).is_none());
        let uid = first.uid;
        drop(first);
        assert_eq!(pool.take().unwrap().uid, uid);
    }

    #[test]
    fn an_id_that_is_somebodys_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let pool = UidPool {
            base: 0,
            count: 1,
            locks: directory.path().to_owned(),
        };
        assert!(matches!(pool.take(), Err(IsolationError::PoolExhausted)));
    }
}
