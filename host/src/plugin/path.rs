//! Where a path that an agent names really leads.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Links on the way to one file; the kernel's own bound.
const LINKS: usize = 40;

/// `path` against `cwd`, without `.` and `..`, by its text alone: what the agent's tools do before
/// they open a file.
pub(super) fn absolute(cwd: &Path, path: &Path) -> PathBuf {
    let mut result = PathBuf::from("/");
    for part in cwd.join(path).components() {
        match part {
            Component::ParentDir => {
                result.pop();
            }
            Component::Normal(name) => result.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    result
}

/// `path`, which is absolute, with every link resolved. What does not exist is taken as it is named;
/// a link that leads to nothing is followed all the same. Fails where the way cannot be looked at:
/// a loop, a directory that is closed to us.
pub(super) fn real(path: &Path) -> io::Result<PathBuf> {
    let mut result = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = parts(path);
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            result.pop();
            continue;
        }
        let next = result.join(&part);
        match fs::symlink_metadata(&next) {
            Ok(metadata) if metadata.is_symlink() => {
                links += 1;
                if links > LINKS {
                    return Err(io::Error::other("too many symbolic links"));
                }
                let target = fs::read_link(&next)?;
                if target.is_absolute() {
                    result = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    ahead.push_front(part);
                }
            }
            Ok(_) => result = next,
            Err(error) if absent(&error) => result = next,
            Err(error) => return Err(error),
        }
    }
    Ok(result)
}

/// Nothing stands there, or a file stands where a directory would have to.
fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        (directory, root)
    }

    #[test]
    fn links_are_resolved_in_the_middle_and_at_the_end() {
        let (_directory, root) = directory();
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a/b", root.join("short")).unwrap();
        symlink("/etc/passwd", root.join("a/b/users")).unwrap();
        assert_eq!(real(&root.join("short/new")).unwrap(), root.join("a/b/new"));
        assert_eq!(
            real(&root.join("short/users")).unwrap(),
            Path::new("/etc/passwd")
        );
    }

    #[test]
    fn a_link_that_leads_to_nothing_yet_is_followed() {
        let (_directory, root) = directory();
        symlink("/nowhere/at/all", root.join("dangling")).unwrap();
        assert_eq!(
            real(&root.join("dangling")).unwrap(),
            Path::new("/nowhere/at/all")
        );
        assert_eq!(
            real(&root.join("dangling/x")).unwrap(),
            Path::new("/nowhere/at/all/x")
        );
    }

    #[test]
    fn a_links_parent_is_that_of_its_target() {
        let (_directory, root) = directory();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(root.join("c")).unwrap();
        symlink("../a/b/../x", root.join("c/up")).unwrap();
        assert_eq!(real(&root.join("c/up")).unwrap(), root.join("a/x"));
    }

    #[test]
    fn a_loop_is_an_error() {
        let (_directory, root) = directory();
        symlink("two", root.join("one")).unwrap();
        symlink("one", root.join("two")).unwrap();
        assert!(real(&root.join("one")).is_err());
    }

    #[test]
    fn dots_are_taken_out_by_text() {
        assert_eq!(
            absolute(Path::new("/w/x"), Path::new("../../../../etc/./p")),
            Path::new("/etc/p")
        );
        assert_eq!(
            absolute(Path::new("/w"), Path::new("/a//b/")),
            Path::new("/a/b")
        );
    }
}
