//! Reading `/proc` to find processes, and killing them. Zombies do not count: they hold nothing but
//! an entry until their parent looks.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What `/proc/{pid}/status` tells of a process.
struct Process {
    pid: i32,
    parent: i32,
    /// Real, effective, saved.
    uids: Vec<u32>,
}

/// Every process that runs or could run under `uid`.
pub(super) fn of_uid(uid: u32) -> io::Result<Vec<i32>> {
    Ok(all()?
        .into_iter()
        .filter(|process| process.uids.contains(&uid))
        .map(|process| process.pid)
        .collect())
}

/// Children, their children, and so on. Complete for a subreaper: what loses its parent becomes its
/// child.
pub(super) fn descendants(ancestor: i32) -> io::Result<Vec<i32>> {
    let all = all()?;
    let mut found = vec![];
    let mut generation = vec![ancestor];
    while !generation.is_empty() {
        generation = all
            .iter()
            .filter(|process| generation.contains(&process.parent))
            .map(|process| process.pid)
            .collect();
        found.extend(&generation);
    }
    Ok(found)
}

/// Processes whose working directory lies in `directory` or whose environment names it. For where
/// neither a uid nor a cgroup tells whose they are; one that hides both is missed.
pub(super) fn attached_to(directory: &Path) -> io::Result<Vec<i32>> {
    let mut named = directory.as_os_str().as_bytes().to_vec();
    named.push(b'/');
    let own = std::process::id() as i32;
    let attached = |pid: i32| {
        let inside = std::fs::read_link(format!("/proc/{pid}/cwd"))
            .is_ok_and(|cwd| cwd.starts_with(directory));
        inside
            || std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.windows(named.len()).any(|window| window == named))
    };
    Ok(all()?
        .into_iter()
        .map(|process| process.pid)
        .filter(|pid| *pid != own && attached(*pid))
        .collect())
}

/// Sends `signal` to each; one that is gone already is no error.
pub(super) fn signal(pids: &[i32], signal: Signal) -> io::Result<()> {
    let mut refused = Ok(());
    for pid in pids {
        match kill(Pid::from_raw(*pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => refused = Err(errno.into()),
        }
    }
    refused
}

fn all() -> io::Result<Vec<Process>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect())
}

/// None where it ended meanwhile or is a zombie.
fn read(pid: i32) -> Option<Process> {
    let status = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim_start_matches(':').trim())
    };
    if matches!(field("State")?.as_bytes().first(), Some(b'Z' | b'X')) {
        return None;
    }
    let uids = field("Uid")?
        .split_whitespace()
        .take(3)
        .filter_map(|uid| uid.parse().ok())
        .collect();
    Some(Process {
        pid,
        parent: field("PPid")?.parse().ok()?,
        uids,
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

    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_found_as_descendant_and_by_its_directory_until_it_is_reaped() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .current_dir(directory.path())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let own = std::process::id() as i32;
        assert!(descendants(own).unwrap().contains(&pid));
        assert!(!descendants(pid).unwrap().contains(&own));
        assert!(
            of_uid(nix::unistd::getuid().as_raw())
                .unwrap()
                .contains(&pid)
        );
        signal(&[pid], Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        assert!(!descendants(own).unwrap().contains(&pid));
        signal(&[pid], Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_process_belongs_to_the_directory_that_its_environment_names() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .env("HOME", directory.path().join("home"))
            .current_dir("/")
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        // Between fork and exec the child still shows our own environment.
        while !attached_to(directory.path()).unwrap().contains(&pid) {
            std::thread::yield_now();
        }
        assert!(
            !attached_to(Path::new("/nowhere/at/all"))
                .unwrap()
                .contains(&pid)
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
