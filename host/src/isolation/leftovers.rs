//! What an agent leaves where everybody may write: `/tmp` and its like.
//!
//! The next agent with the same user id would own it, could read it, and could be led by it; and
//! nobody would ever remove it. Only what stands in these directories itself is looked at: what an agent
//! put into somebody else's directory stays.

use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};

use super::removal;

const EVERYBODYS: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run/lock"];

/// Removes everything of `uid`, under which nothing may run any more. What cannot be removed is told
/// of in the log, and is no reason not to go on.
pub(super) fn remove(uid: u32) {
    for directory in EVERYBODYS {
        if let Err(error) = remove_in(Path::new(directory), uid) {
            tracing::warn!(directory, uid, %error, "what an agent left cannot be removed");
        }
    }
}

fn remove_in(path: &Path, uid: u32) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match openat(CWD, path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut left: Vec<CString> = vec![];
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let of_uid = !matches!(name.to_bytes(), b"." | b"..")
            && statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| found.st_uid == uid);
        if of_uid {
            left.push(name.to_owned());
        }
    }
    for name in left {
        removal::remove_among_strangers(std::os::fd::AsFd::as_fd(&directory), &name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn what_is_of_the_user_goes_and_what_is_not_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (path, kept) = (directory.path(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(path.join("deep/er")).unwrap();
        std::fs::write(path.join("deep/er/file"), "x").unwrap();
        std::fs::write(path.join("file"), "x").unwrap();
        std::fs::write(kept.path().join("file"), "x").unwrap();
        symlink(kept.path(), path.join("link")).unwrap();
        let uid = path.metadata().unwrap().uid();

        remove_in(path, uid + 1).unwrap();
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 3);
        remove_in(path, uid).unwrap();

        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
        assert!(kept.path().join("file").exists());
        remove_in(&path.join("absent"), uid).unwrap();
    }
}
