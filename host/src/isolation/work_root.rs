//! A place for workspaces that the agent's user can reach and nobody else can change.

use std::fs::{DirBuilder, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{IsolationError, Level, system};

/// The work root, and why a better place could not be it.
pub(super) struct WorkRoot {
    pub(super) path: PathBuf,
    /// `"{path}: {why}"` of each place that was passed over.
    pub(super) passed_over: Vec<String>,
}

/// Makes the first place that serves.
pub(super) fn choose(
    configured: Option<&Path>,
    data_dir: &Path,
    level: Level,
) -> Result<WorkRoot, IsolationError> {
    let preferred = configured.map_or_else(|| data_dir.join("work"), Path::to_owned);
    let fallback = format!("/var/tmp/gatehouse-{}", nix::unistd::geteuid());
    let mut passed_over = vec![];
    for path in [preferred, fallback.into()] {
        match make(&path).and_then(|()| path.canonicalize()) {
            Ok(path) => match barrier(&path) {
                Some(why) if level > Level::None => {
                    passed_over.push(format!("{}: {why}", path.display()))
                }
                _ => return Ok(WorkRoot { path, passed_over }),
            },
            Err(error) => passed_over.push(format!("{}: {error}", path.display())),
        }
    }
    Err(system(format!(
        "find a directory for workspaces ({})",
        passed_over.join("; ")
    ))(io::Error::from(io::ErrorKind::PermissionDenied)))
}

/// Makes the directory, or checks that nobody else made it: `/var/tmp` is everybody's.
fn make(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o711).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let found = path.symlink_metadata()?;
    if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "belongs to somebody else",
        ));
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o711))
}

/// The first directory on the way that others may not pass through.
fn barrier(path: &Path) -> Option<String> {
    path.ancestors()
        .find_map(|directory| match directory.metadata() {
            Ok(found) if found.mode() & 0o001 != 0 => None,
            Ok(found) => Some(format!(
                "others may not enter {} (mode {:o})",
                directory.display(),
                found.mode() & 0o7777
            )),
            Err(error) => Some(format!("{}: {error}", directory.display())),
        })
}

/// See [`super::Isolation::reachable_binary`].
pub(super) fn reachable_binary(work_root: &Path, binary: &Path) -> Result<PathBuf, IsolationError> {
    let binary = binary.canonicalize().map_err(system("find the binary"))?;
    let found = binary.metadata().map_err(system("find the binary"))?;
    let open_to_others = found.mode() & 0o005 == 0o005;
    if open_to_others
        && binary
            .parent()
            .is_none_or(|parent| barrier(parent).is_none())
    {
        return Ok(binary);
    }
    let name = binary
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut version = DefaultHasher::new();
    (
        &binary,
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        found.ino(),
    )
        .hash(&mut version);
    let directory = work_root.join(".bin");
    let copy = directory.join(format!("{name}-{:016x}", version.finish()));
    if copy.exists() {
        return Ok(copy);
    }
    make(&directory).map_err(system("make the directory of binaries"))?;
    let partial = directory.join(format!(".{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&partial);
    // A link costs nothing, but keeps mode and owner of the original.
    if !open_to_others || std::fs::hard_link(&binary, &partial).is_err() {
        std::fs::copy(&binary, &partial).map_err(system("copy the binary"))?;
        std::fs::set_permissions(&partial, Permissions::from_mode(0o755))
            .map_err(system("copy the binary"))?;
    }
    std::fs::rename(&partial, &copy).map_err(system("copy the binary"))?;
    Ok(copy)
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

    /// A directory that others can reach, whatever the mode of the temporary directory.
    fn open_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        directory
    }

    #[test]
    fn a_data_directory_closed_to_others_is_passed_over_only_for_an_agent_of_another_user() {
        let directory = open_directory();
        let closed = directory.path().join("closed");
        DirBuilder::new().mode(0o700).create(&closed).unwrap();
        let own = choose(None, &closed, Level::None).unwrap();
        assert_eq!(own.path, closed.join("work"));
        let other = choose(None, &closed, Level::Uid).unwrap();
        assert!(other.path.starts_with("/var/tmp"), "{:?}", other.path);
        assert!(
            other.passed_over[0].contains("mode 700"),
            "{:?}",
            other.passed_over
        );
    }

    #[test]
    fn a_binary_behind_a_closed_directory_is_made_reachable_once() {
        let directory = open_directory();
        let root = directory.path().join("work");
        make(&root).unwrap();
        let closed = directory.path().join("closed");
        DirBuilder::new().mode(0o700).create(&closed).unwrap();
        for (name, mode) in [("open", 0o755), ("private", 0o700)] {
            let binary = closed.join(name);
            std::fs::write(&binary, "content").unwrap();
            std::fs::set_permissions(&binary, Permissions::from_mode(mode)).unwrap();
            let copy = reachable_binary(&root, &binary).unwrap();
            assert!(copy.starts_with(root.join(".bin")));
            assert_eq!(std::fs::read(&copy).unwrap(), b"content");
            assert_eq!(copy.metadata().unwrap().mode() & 0o777, 0o755);
            assert_eq!(barrier(copy.parent().unwrap()), None);
            assert_eq!(reachable_binary(&root, &binary).unwrap(), copy);
            // The copy itself can be reached.
            assert_eq!(reachable_binary(&root, &copy).unwrap(), copy);
        }
    }

    #[test]
    fn a_link_in_place_of_the_work_root_is_refused() {
        let directory = open_directory();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert!(make(&link).is_err());
    }
}
