//! Making files in directories that the agent can change at any time.
//!
//! The agent may put a link where a directory was. Every step is taken from an open directory and
//! follows no link, so nothing is ever made outside `base`.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, chownat, fchown, linkat, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

/// Who owns what is made; None leaves it ours.
pub(super) type Owner = Option<u32>;

/// Makes the directory `path` and those above it, down from `base`.
pub(super) fn make_dir(base: &Path, path: &Path, owner: Owner) -> io::Result<()> {
    walk(base, inner(base, path)?, owner).map(drop)
}

/// Puts a file of mode 0600 at `path`, whole or not at all; parents are made.
pub(super) fn write(base: &Path, path: &Path, content: &[u8], owner: Owner) -> io::Result<()> {
    let inner = inner(base, path)?;
    let (Some(parent), Some(name)) = (inner.parent(), inner.file_name()) else {
        return Err(outside());
    };
    let directory = walk(base, parent, owner)?;
    let partial = format!(".gatehouse-{}", uuid::Uuid::new_v4());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&directory, &partial, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = std::fs::File::from(file);
    let written = file
        .write_all(content)
        .and_then(|()| own(file.as_fd(), owner))
        .and_then(|()| Ok(renameat(&directory, &partial, &directory, name)?));
    if written.is_err() {
        let _ = unlinkat(&directory, &partial, AtFlags::empty());
    }
    written
}

/// An empty file of mode 0600 in place of whatever is there; parents are made.
pub(super) fn create(base: &Path, path: &Path, owner: Owner) -> io::Result<std::fs::File> {
    let inner = inner(base, path)?;
    let (Some(parent), Some(name)) = (inner.parent(), inner.file_name()) else {
        return Err(outside());
    };
    let directory = walk(base, parent, owner)?;
    match unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    own(file.as_fd(), owner)?;
    Ok(std::fs::File::from(file))
}

/// Puts a second name for `file` at `path`; parents are made. A link in place of `file` is not followed.
pub(super) fn link(base: &Path, path: &Path, file: &Path, owner: Owner) -> io::Result<()> {
    let inner = inner(base, path)?;
    let (Some(parent), Some(name)) = (inner.parent(), inner.file_name()) else {
        return Err(outside());
    };
    let directory = walk(base, parent, owner)?;
    Ok(linkat(CWD, file, &directory, name, AtFlags::empty())?)
}

/// A socket `name` in `base`. Bound by way of the open directory: a socket's path may have 107 bytes,
/// and the directory's may be longer.
pub(super) fn listen(base: &Path, name: &str, owner: Owner) -> io::Result<UnixListener> {
    let directory = walk(base, Path::new(""), owner)?;
    let place = Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name);
    let listener = UnixListener::bind(place)?;
    if let Some(owner) = owner {
        let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
        chownat(
            &directory,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(listener)
}

fn inner<'a>(base: &Path, path: &'a Path) -> io::Result<&'a Path> {
    let inner = path.strip_prefix(base).map_err(|_| outside())?;
    let plain = inner
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    if plain { Ok(inner) } else { Err(outside()) }
}

fn outside() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the path leads out of the sandbox",
    )
}

fn walk(base: &Path, inner: &Path, owner: Owner) -> io::Result<OwnedFd> {
    let open = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = openat(CWD, base, open, Mode::empty())?;
    for name in inner.iter() {
        directory = match openat(&directory, name, open, Mode::empty()) {
            Err(Errno::NOENT) => {
                make_one(&directory, name)?;
                let made = openat(&directory, name, open, Mode::empty())?;
                own(made.as_fd(), owner)?;
                made
            }
            other => other?,
        };
    }
    Ok(directory)
}

fn make_one(directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match mkdirat(directory, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

fn own(file: std::os::fd::BorrowedFd<'_>, owner: Owner) -> io::Result<()> {
    if let Some(owner) = owner {
        fchown(file, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_written_with_its_parents_and_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/file");
        write(directory.path(), &path, b"one", None).unwrap();
        write(directory.path(), &path, b"two", None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }

    #[test]
    fn a_link_on_the_way_is_refused_and_one_in_place_of_the_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (inside, outside) = (directory.path().join("in"), directory.path().join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        symlink(outside.join("target"), inside.join("file")).unwrap();
        assert!(write(&inside, &inside.join("link/file"), b"x", None).is_err());
        assert!(make_dir(&inside, &inside.join("link/directory"), None).is_err());
        write(&inside, &inside.join("file"), b"x", None).unwrap();
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for path in [
            "/etc/x".into(),
            directory.path().join("../x"),
            directory.path().join("a/../../x"),
        ] {
            assert!(
                write(directory.path(), &path, b"x", None).is_err(),
                "{path:?}"
            );
        }
        assert!(write(directory.path(), directory.path(), b"x", None).is_err());
    }
}
