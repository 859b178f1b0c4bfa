//! Directories come with the first object in them and go with the last.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a directory and those above it. Their entries are on disk when this returns, so that
/// writing an object need not think of them. Whoever uses them holds the lock that keeps others from
/// removing them meanwhile.
pub(super) fn make(root: &Path, path: &Path) -> io::Result<()> {
    let make_one = || DirBuilder::new().mode(0o700).create(path);
    let parent = path.parent().unwrap_or(root);
    let made = match make_one() {
        Err(error) if error.kind() == ErrorKind::NotFound && path != root => {
            make(root, parent)?;
            make_one()
        }
        other => other,
    };
    match made.and_then(|()| sync(parent)) {
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
            Ok(())
        }
        other => other,
    }
}

/// Removes the directories that held the object at `path` and hold nothing now, except for those at
/// the top.
pub(super) fn remove_empty_parents(root: &Path, path: &Path) {
    let mut parent = path.parent();
    while let Some(directory) = parent {
        let at_the_top = directory == root || directory.parent() == Some(root);
        // It fails where the directory is not empty, which is the usual case.
        if at_the_top || fs::remove_dir(directory).is_err() {
            return;
        }
        parent = directory.parent();
    }
}

/// Brings the entries of a directory to the disk.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Where a part of the name is a file, nothing can stand below it.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
