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
use crate::config;

/// A range of user ids.
#[derive(Clone, Debug)]
pub(super) struct UidPool {
    base: u32,
    count: u32,
    /// Users with this name are agents'.
    account: Option<String>,
    locks: PathBuf,
}

/// A user id that is ours until this drops.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) uid: u32,
    _lock: File,
}

impl UidPool {
    pub(super) fn new(
        settings: &config::Isolation,
        data_dir: &Path,
    ) -> Result<Self, IsolationError> {
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        let shared = Path::new("/run/gatehouse/uids");
        // It may be there and not be ours to write, as in an image that was started before.
        let usable = make(shared).and_then(|()| tempfile::tempfile_in(shared));
        let locks = match usable {
            Ok(_) => shared.to_owned(),
            Err(_) => {
                let own = data_dir.join("uids");
                make(&own).map_err(system("make the directory of user id locks"))?;
                own
            }
        };
        Ok(Self {
            base: settings.uid_base,
            count: settings.uid_count,
            account: settings.account.clone(),
            locks,
        })
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
    /// One that has another name than agents have is somebody else's, and so are its processes and files.
    pub(super) fn take(&self) -> Result<Slot, IsolationError> {
        let slot = (self.base..self.base.saturating_add(self.count))
            .filter(|uid| !self.is_somebodys(*uid))
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

    /// Whether the system knows a user of that id who is no agent; one that it cannot tell of has none.
    fn is_somebodys(&self, uid: u32) -> bool {
        let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
        let somebody = user.filter(|user| {
            let account = self.account.as_deref();
            !account.is_some_and(|account| is_agents(&user.name, account))
        });
        if let Some(user) = &somebody {
            tracing::warn!(
                uid,
                user = user.name,
                "a user id of the pool is somebody's and left out"
            );
        }
        somebody.is_some()
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

/// Whether a user has this name: that of agents, or with a number behind it.
fn is_agents(user: &str, account: &str) -> bool {
    user.strip_prefix(account)
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
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
            account: None,
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
        for account in [None, Some("roo"), Some("ro")] {
            let pool = UidPool {
                base: 0,
                count: 1,
                account: account.map(str::to_owned),
                locks: directory.path().to_owned(),
            };
            assert!(matches!(pool.take(), Err(IsolationError::PoolExhausted)));
        }
    }

    #[test]
    fn a_user_made_for_agents_is_theirs_by_its_name_or_with_a_number_behind_it() {
        for (user, agents) in [
            ("claudeuser", true),
            ("claudeuser12", true),
            ("claudeuser-admin", false),
            ("claudeuse", false),
            ("root", false),
        ] {
            assert_eq!(is_agents(user, "claudeuser"), agents, "{user}");
        }
        let directory = tempfile::tempdir().unwrap();
        let pool = UidPool {
            base: 0,
            count: 1,
            account: Some("root".to_owned()),
            locks: directory.path().to_owned(),
        };
        assert!(!pool.is_somebodys(0));
    }
}
