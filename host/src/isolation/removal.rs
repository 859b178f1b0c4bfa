//! Removing a directory tree that somebody else made.
//!
//! The tree may be 20 000 levels deep, hold a million files, or be full of links. So nothing is
//! recursive, nothing is collected in memory, no link is followed: the tree is renamed into a trash
//! directory beside it, and each directory found in it is moved up to the top of the trash until all
//! are flat. A removal that was interrupted is taken up by the next one of that name.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmodat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Removes the directory `path` with all below; absent is no error. The name is free at once.
/// Nothing may write into the tree any more, nor into the directory in which it stands.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = match open_directory(CWD, parent) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    // No task has a name with a dot.
    let mut trash_name = OsString::from(".trash-");
    trash_name.push(name);
    match mkdirat(&parent, &trash_name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    empty_out(parent.as_fd(), &CString::new(name.as_bytes())?, &trash_name)
}

/// Removes the entry `name` of `parent`, into which everybody may write as into `/tmp`: only its owner
/// can move it, and that is not at work any more. The trash has a name that nobody can have foreseen.
pub(super) fn remove_among_strangers(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let trash_name = OsString::from(format!(".gatehouse-{}", uuid::Uuid::new_v4()));
    mkdirat(parent, &trash_name, Mode::RWXU)?;
    empty_out(parent, name, &trash_name)
}

fn empty_out(parent: BorrowedFd<'_>, name: &CStr, trash_name: &OsStr) -> io::Result<()> {
    let mut trash = Trash {
        directory: open_directory(parent, trash_name)?,
        moved: 0,
    };
    trash.take(parent, name)?;
    trash.empty()?;
    absent_is_fine(unlinkat(parent, trash_name, AtFlags::REMOVEDIR))?;
    Ok(())
}

struct Trash {
    directory: OwnedFd,
    /// Names given so far.
    moved: u64,
}

impl Trash {
    /// Moves an entry of `from` here, under a name that is free.
    fn take(&mut self, from: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        loop {
            self.moved += 1;
            match renameat(from, name, &self.directory, self.moved.to_string()) {
                // What an interrupted removal left has the name.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR) => {}
                // Moving a directory changes its `..`, so without privilege it must be writable.
                Err(Errno::ACCESS) => {
                    chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
                    let fresh = format!("{}-writable", self.moved);
                    return renameat(from, name, &self.directory, fresh);
                }
                other => return absent_is_fine(other),
            }
        }
    }

    fn empty(&mut self) -> io::Result<()> {
        // Moving directories up adds entries while the directory is read; another round finds them.
        loop {
            let mut found = false;
            for entry in Dir::read_from(&self.directory)? {
                let entry = entry?;
                if is_dots(entry.file_name()) {
                    continue;
                }
                found = true;
                match unlinkat(&self.directory, entry.file_name(), AtFlags::empty()) {
                    Err(Errno::ISDIR | Errno::PERM) => self.flatten(entry.file_name())?,
                    other => absent_is_fine(other)?,
                }
            }
            if !found {
                return Ok(());
            }
        }
    }

    /// Removes one directory of the trash; what it holds below its own entries moves up.
    fn flatten(&mut self, name: &CStr) -> io::Result<()> {
        absent_is_fine(chmodat(&self.directory, name, Mode::RWXU, AtFlags::empty()))?;
        let directory = match open_directory(self.directory.as_fd(), name) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        loop {
            let mut found = false;
            for entry in Dir::read_from(&directory)? {
                let entry = entry?;
                let name = entry.file_name();
                if is_dots(name) {
                    continue;
                }
                found = true;
                match unlinkat(&directory, name, AtFlags::empty()) {
                    Err(Errno::ISDIR | Errno::PERM) => {}
                    other => {
                        absent_is_fine(other)?;
                        continue;
                    }
                }
                match unlinkat(&directory, name, AtFlags::REMOVEDIR) {
                    Err(Errno::NOTEMPTY | Errno::EXIST) => self.take(directory.as_fd(), name)?,
                    other => absent_is_fine(other)?,
                }
            }
            if !found {
                break;
            }
        }
        Ok(absent_is_fine(unlinkat(
            &self.directory,
            name,
            AtFlags::REMOVEDIR,
        ))?)
    }
}

fn open_directory<P: rustix::path::Arg>(at: BorrowedFd<'_>, path: P) -> Result<OwnedFd, Errno> {
    openat(
        at,
        path,
        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn absent_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_of_twenty_thousand_levels_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("deep");
        std::fs::create_dir(&root).unwrap();
        let mut at = open_directory(CWD, &root).unwrap();
        for _ in 0..20_000 {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open_directory(at.as_fd(), "d").unwrap();
        }
        drop(at);
        remove(&root).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("kept");
        std::fs::create_dir_all(kept.join("below")).unwrap();
        let root = directory.path().join("task");
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        symlink(&kept, root.join("link")).unwrap();
        symlink(&kept, root.join("a/b/link")).unwrap();
        std::fs::write(root.join("a/b/c/file"), "x").unwrap();
        nix::unistd::mkfifo(&root.join("a/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists());
        assert!(kept.join("below").exists());
        remove(&root).unwrap();
    }

    #[test]
    fn a_root_that_is_a_link_is_removed_and_what_it_points_to_stays() {
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("kept");
        std::fs::create_dir_all(kept.join("below")).unwrap();
        let link = directory.path().join("task");
        symlink(&kept, &link).unwrap();
        remove(&link).unwrap();
        assert!(link.symlink_metadata().is_err());
        assert!(kept.join("below").exists());
    }

    #[test]
    fn closed_directories_and_what_an_interrupted_removal_left_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("task");
        std::fs::create_dir_all(root.join("closed/inner/more")).unwrap();
        std::fs::create_dir_all(directory.path().join(".trash-task/1/left")).unwrap();
        std::fs::write(directory.path().join(".trash-task/2"), "left").unwrap();
        std::fs::set_permissions(root.join("closed/inner"), Permissions::from_mode(0o500)).unwrap();
        std::fs::set_permissions(root.join("closed"), Permissions::from_mode(0o000)).unwrap();
        remove(&root).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
