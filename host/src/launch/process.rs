//! A job's process, told from every other that had or will have its number.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

/// Where the kernel has no pidfd, a process is looked for this often.
const LOOK: Duration = Duration::from_millis(500);

/// A process by its number and the time at which it was started; written `local/{pid}-{start time}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct JobProcess {
    pid: Pid,
    start_time: u64,
}

impl JobProcess {
    /// The process that has this number now; for a child that nobody has waited for yet.
    pub(super) fn of_child(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            pid,
            start_time: stat(pid)?.start_time,
        })
    }

    /// Reads the name that its text form wrote.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (pid, start_time) = name.strip_prefix("local/")?.split_once('-')?;
        Some(Self {
            pid: Pid::from_raw(pid.parse().ok()?)?,
            start_time: start_time.parse().ok()?,
        })
    }

    /// Returns when the process runs no more; at once where it does not.
    pub(super) async fn ended(&self) {
        match self.open().and_then(watched) {
            // A pidfd becomes readable when its process ends.
            Ok(pidfd) if pidfd.readable().await.is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => {
                while self.is_there() {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Ends the process by force.
    pub(super) fn kill(&self) -> io::Result<()> {
        match self.open() {
            Ok(pidfd) => Ok(pidfd_send_signal(pidfd, Signal::KILL)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `NotFound` where the number is free or somebody else's. The number is looked at again once the
    /// descriptor is there, which from then on can mean nobody else.
    fn open(&self) -> io::Result<OwnedFd> {
        let pidfd = match pidfd_open(self.pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Err(io::ErrorKind::NotFound.into()),
            opened => opened?,
        };
        if self.is_there() {
            Ok(pidfd)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// Whether it runs now.
    pub(super) fn is_there(&self) -> bool {
        stat(self.pid).is_ok_and(|stat| stat.start_time == self.start_time && !stat.is_dead)
    }
}

impl fmt::Display for JobProcess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "local/{}-{}",
            self.pid.as_raw_nonzero(),
            self.start_time
        )
    }
}

#[expect(unsafe_code, reason = "tokio has no safe way to watch a descriptor")]
fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `OwnedFd` owns a valid descriptor, always names the same one, and nothing else closes it.
    Ok(unsafe { AsyncFd::register(pidfd) }?)
}

/// What `/proc/{pid}/stat` tells.
struct Stat {
    /// Nobody has waited for it yet.
    is_dead: bool,
    start_time: u64,
}

/// Reads fields 3 and 22. The second field, the program's name, may hold anything: fields are counted
/// from behind its last bracket.
fn stat(pid: Pid) -> io::Result<Stat> {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    let stat = String::from_utf8_lossy(&stat);
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let (_, behind_name) = stat.rsplit_once(')').ok_or_else(damaged)?;
    let mut fields = behind_name.split_whitespace();
    let state = fields.next().ok_or_else(damaged)?;
    let start_time = fields
        .nth(18)
        .and_then(|field| field.parse().ok())
        .ok_or_else(damaged)?;
    Ok(Stat {
        is_dead: matches!(state, "Z" | "X"),
        start_time,
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use tokio::process::Command;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed_and_can_be_forced() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = JobProcess::of_child(child.id().unwrap()).unwrap();
        assert_eq!(JobProcess::parse(&process.to_string()), Some(process));
        let mut ended = std::pin::pin!(process.ended());
        assert!(futures::poll!(&mut ended).is_pending());
        process.kill().unwrap();
        ended.await;
        assert!(!child.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn a_number_that_another_process_has_now_is_not_the_job() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = JobProcess::of_child(child.id().unwrap()).unwrap();
        let earlier = JobProcess {
            start_time: process.start_time - 1,
            ..process
        };
        earlier.ended().await;
        earlier.kill().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().await.unwrap();
    }

    #[test]
    fn a_name_of_another_kind_is_no_process() {
        for name in [
            "",
            "local/",
            "local/1",
            "local/0-1",
            "local/x-1",
            "projects/p/executions/e",
        ] {
            assert_eq!(JobProcess::parse(name), None, "{name}");
        }
    }
}
