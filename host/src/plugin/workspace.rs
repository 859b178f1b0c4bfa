//! The workspace as a post-execution plugin may read it: regular files below one directory.
//!
//! The agent wrote what lies here and may have meant harm: links that lead out, pipes that block,
//! trees without end. So everything is opened by the kernel below the root's own descriptor, without
//! following a single link, and every walk is bounded. Nothing is ever written.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Failure;
use super::search::Search;
use crate::redact::Redactor;

/// Files that one search may return.
const FILES: usize = 10_000;
/// Names that one search looks at.
const NAMES: usize = 1_000_000;
/// Directories that one search enters.
const DIRECTORIES: usize = 100_000;
/// Directories above a file.
const DEPTH: usize = 128;
/// Bytes that one `read` returns.
const READ: u32 = 4 << 20;

/// Read access to one directory's tree.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: Arc<OwnedFd>,
    /// Knows what is not shown to plugins.
    redactor: Redactor,
}

/// A file that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Relative to the workspace.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

impl Workspace {
    /// Opens the root, once: whatever is put in its place later is not looked at.
    pub fn open(root: &Path) -> std::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())?;
        Ok(Self {
            root: Arc::new(root),
            redactor: Redactor::default(),
        })
    }

    /// Shows asterisks in place of what this knows: no plugin sees a secret, whatever file the agent put
    /// it into. Nothing moves, so that sizes and offsets stay true.
    pub(super) fn guard(mut self, redactor: Redactor) -> Self {
        self.redactor = redactor;
        self
    }

    /// Regular files whose paths match one of the patterns, in byte order of their paths.
    pub(crate) async fn find(&self, patterns: Vec<String>) -> Result<Vec<Found>, Failure> {
        let search = Search::new(&patterns)?;
        let workspace = self.clone();
        blocking(move || workspace.walk(&search)).await
    }

    /// At most `length` bytes from `offset`; fewer at the file's end, and never more than 4 MiB.
    pub(crate) async fn read(
        &self,
        path: String,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, Failure> {
        let workspace = self.clone();
        blocking(move || {
            let file = workspace.file(&path)?;
            let reach = workspace.redactor.reach() as u64;
            let from = offset.saturating_sub(reach);
            let before = (offset - from) as usize;
            let length = length.min(READ) as usize;
            let mut content = vec![0; before + length + reach as usize];
            let mut filled = 0;
            while let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, from.saturating_add(filled as u64)) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Failure::new("io", error.kind().to_string())),
                }
            }
            content.truncate(filled);
            workspace.redactor.mask(&mut content);
            content.drain(..before.min(filled));
            content.truncate(length);
            Ok(content)
        })
        .await
    }

    /// Opens a regular file. Never blocks: a pipe without a writer opens at once and is refused.
    pub(crate) fn file(&self, path: &str) -> Result<File, Failure> {
        check_relative(path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(
            self.below(Path::new(path), flags)
                .map_err(|error| refused(path, error))?,
        );
        let metadata = file.metadata().ok().filter(|metadata| metadata.is_file());
        let metadata = metadata
            .ok_or_else(|| Failure::new("not-a-file", format!("`{path}` is no regular file")))?;
        if metadata.nlink() > 1 && Some(metadata.uid()) != self.owner() {
            // No link is followed to get here, but a second name for somebody's file is no link. The
            // kernel refuses such names only where fs.protected_hardlinks is set.
            let message = format!("`{path}` is a second name of somebody else's file");
            return Err(Failure::new("no-access", message));
        }
        Ok(file)
    }

    fn owner(&self) -> Option<u32> {
        let root = rustix::fs::fstat(self.root.as_fd());
        root.map(|root| root.st_uid).ok()
    }

    fn below(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(self.root.as_fd(), path, flags, Mode::empty(), resolve)
    }

    /// Breadth first over paths instead of descriptors: a deep tree costs neither stack nor open
    /// files, and each directory is opened from the root again, so that one which is swapped for a
    /// link meanwhile is refused like any other link.
    fn walk(&self, search: &Search) -> Result<Vec<Found>, Failure> {
        let mut found = Vec::new();
        let mut names = 0_usize;
        let mut directories = 0_usize;
        let mut ahead = VecDeque::from([(String::from("."), 0_usize)]);
        while let Some((directory, depth)) = ahead.pop_front() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = match self.below(Path::new(&directory), flags) {
                Ok(opened) => opened,
                // Gone, swapped or closed to us since its name was read: nothing to be found there.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => continue,
                Err(error) => return Err(refused(&directory, error)),
            };
            let listing = Dir::read_from(&opened).map_err(|error| refused(&directory, error))?;
            for entry in listing {
                let entry = entry.map_err(|error| refused(&directory, error))?;
                // A name that is no text can be neither asked for nor reported.
                let Ok(name) = entry.file_name().to_str() else {
                    continue;
                };
                if name == "." || name == ".." {
                    continue;
                }
                names += 1;
                if names > NAMES {
                    return Err(too_many("names", NAMES));
                }
                let path = match directory.as_str() {
                    "." => name.to_owned(),
                    above => format!("{above}/{name}"),
                };
                let kind = match entry.file_type() {
                    FileType::Unknown => kind_of(&opened, name),
                    known => known,
                };
                if kind == FileType::Directory && search.enters(name) {
                    directories += 1;
                    if depth >= DEPTH {
                        return Err(too_many("directories above a file", DEPTH));
                    }
                    if directories > DIRECTORIES {
                        return Err(too_many("directories", DIRECTORIES));
                    }
                    ahead.push_back((path, depth + 1));
                } else if kind == FileType::RegularFile && search.matches(&path) {
                    let Ok(stat) = rustix::fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW)
                    else {
                        continue;
                    };
                    if found.len() >= FILES {
                        return Err(too_many("matching files", FILES));
                    }
                    found.push(Found {
                        path,
                        size: u64::try_from(stat.st_size).unwrap_or(0),
                    });
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}

fn kind_of(directory: &OwnedFd, name: &str) -> FileType {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_or(FileType::Unknown, |stat| {
            FileType::from_raw_mode(stat.st_mode)
        })
}

fn check_relative(path: &str) -> Result<(), Failure> {
    let stays = !path.is_empty()
        && !path.contains('\0')
        && path.split('/').all(|part| !part.is_empty() && part != "..");
    stays.then_some(()).ok_or_else(|| {
        Failure::new(
            "bad-path",
            "a path is relative to the workspace and holds no `..`",
        )
    })
}

fn too_many(what: &str, bound: usize) -> Failure {
    Failure::new(
        "too-many",
        format!("the search met more than {bound} {what}; narrow its patterns"),
    )
}

fn refused(path: &str, error: Errno) -> Failure {
    match error {
        Errno::NOENT | Errno::NOTDIR => Failure::new("not-found", format!("there is no `{path}`")),
        Errno::LOOP | Errno::XDEV => Failure::new(
            "bad-path",
            format!("`{path}` leads over a link, which is not followed"),
        ),
        Errno::ACCESS | Errno::PERM => {
            Failure::new("no-access", format!("`{path}` cannot be read"))
        }
        Errno::NAMETOOLONG => too_many("bytes in a path", 4096),
        Errno::NXIO => Failure::new("not-a-file", format!("`{path}` is no regular file")),
        other => Failure::new("io", other.kind().to_string()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Failure::new("io", "the search broke off")))
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(files: &[&str]) -> (tempfile::TempDir, Workspace) {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let workspace = Workspace::open(directory.path()).unwrap();
        (directory, workspace)
    }

    async fn paths(workspace: &Workspace, patterns: &[&str]) -> Vec<String> {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        workspace
            .find(patterns)
            .await
            .unwrap()
            .into_iter()
            .map(|found| found.path)
            .collect()
    }

    #[tokio::test]
    async fn patterns_match_as_in_a_shell() {
        let (_directory, workspace) = tree(&["a.xml", "r/b.xml", "r/s/c.xml", "r/d.txt"]);
        assert_eq!(paths(&workspace, &["*.xml"]).await, ["a.xml"]);
        assert_eq!(
            paths(&workspace, &["**/*.xml"]).await,
            ["a.xml", "r/b.xml", "r/s/c.xml"]
        );
        assert_eq!(paths(&workspace, &["./r/*"]).await, ["r/b.xml", "r/d.txt"]);
        assert_eq!(workspace.find(vec!["a.*".into()]).await.unwrap()[0].size, 5);
    }

    #[tokio::test]
    async fn git_and_node_modules_are_left_out_unless_named() {
        let (_directory, workspace) = tree(&[".git/config", "node_modules/x/i.js", "i.js", ".env"]);
        assert_eq!(paths(&workspace, &["**"]).await, [".env", "i.js"]);
        assert_eq!(
            paths(&workspace, &["node_modules/**", "*.js"]).await,
            ["i.js", "node_modules/x/i.js"]
        );
        assert_eq!(paths(&workspace, &[".git/*"]).await, [".git/config"]);
    }

    #[tokio::test]
    async fn patterns_and_paths_that_lead_out_are_refused() {
        let (_directory, workspace) = tree(&["a"]);
        for pattern in ["/etc/*", "../*", "a/../../b"] {
            assert_eq!(
                workspace.find(vec![pattern.into()]).await.unwrap_err().code,
                "bad-pattern"
            );
        }
        assert_eq!(
            workspace.find(vec!["[".into()]).await.unwrap_err().code,
            "bad-pattern"
        );
        for path in ["/etc/passwd", "../a", "a/../a", "", "x\0"] {
            assert_eq!(
                workspace.read(path.into(), 0, 1).await.unwrap_err().code,
                "bad-path",
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn links_are_neither_found_nor_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let (directory, workspace) = tree(&["in/a"]);
        symlink(outside.path(), directory.path().join("out")).unwrap();
        symlink(outside.path().join("secret"), directory.path().join("file")).unwrap();
        symlink("in", directory.path().join("inner")).unwrap();
        assert_eq!(paths(&workspace, &["**"]).await, ["in/a"]);
        for path in ["out/secret", "file", "inner/a"] {
            assert_eq!(
                workspace.read(path.into(), 0, 9).await.unwrap_err().code,
                "bad-path"
            );
        }
    }

    #[tokio::test]
    async fn a_directory_swapped_for_a_link_is_not_entered() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let (directory, workspace) = tree(&["d/a"]);
        fs::rename(directory.path().join("d"), directory.path().join("e")).unwrap();
        symlink(outside.path(), directory.path().join("d")).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        assert_eq!(
            workspace.below(Path::new("d"), flags).unwrap_err(),
            Errno::LOOP
        );
    }

    #[tokio::test]
    async fn a_pipe_does_not_block_and_is_no_file() {
        let (directory, workspace) = tree(&[]);
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(paths(&workspace, &["**"]).await.is_empty());
        assert_eq!(
            workspace.read("pipe".into(), 0, 1).await.unwrap_err().code,
            "not-a-file"
        );
        fs::create_dir(directory.path().join("dir")).unwrap();
        assert_eq!(
            workspace.read("dir".into(), 0, 1).await.unwrap_err().code,
            "not-a-file"
        );
    }

    #[tokio::test]
    async fn a_secret_is_shown_as_asterisks_wherever_the_part_begins_and_ends() {
        let (directory, workspace) = tree(&[]);
        let secret = secrecy::SecretString::from("s3cret-value");
        let workspace = workspace.guard(Redactor::new([&secret]));
        std::fs::write(directory.path().join(".env"), "A=s3cret-value\nB=1\n").unwrap();
        let whole = b"A=************\nB=1\n";
        for from in 0..whole.len() {
            for to in from..=whole.len() {
                let length = u32::try_from(to - from).unwrap();
                let read = workspace
                    .read(".env".into(), from as u64, length)
                    .await
                    .unwrap();
                assert_eq!(read, &whole[from..to], "{from}..{to}");
            }
        }
    }

    #[tokio::test]
    async fn a_part_of_a_file_is_read() {
        let (_directory, workspace) = tree(&["abcdef"]);
        assert_eq!(workspace.read("abcdef".into(), 2, 3).await.unwrap(), b"cde");
        assert_eq!(
            workspace.read("abcdef".into(), 4, u32::MAX).await.unwrap(),
            b"ef"
        );
        assert_eq!(
            workspace
                .read("abcdef".into(), u64::MAX, 3)
                .await
                .unwrap_or_default(),
            b""
        );
        assert_eq!(
            workspace.read("none".into(), 0, 1).await.unwrap_err().code,
            "not-found"
        );
    }

    #[tokio::test]
    async fn a_very_deep_tree_ends_the_search_and_nothing_else() {
        for name_length in [1, 250] {
            deep_tree(name_length).await;
        }
    }

    async fn deep_tree(name_length: usize) {
        let (directory, workspace) = tree(&[]);
        // Deeper than any path that could be opened at once, so it is made step by step.
        let mut at = rustix::fs::open(directory.path(), OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..300 {
            let name = "d".repeat(name_length);
            rustix::fs::mkdirat(&at, name.as_str(), Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, name.as_str(), OFlags::PATH, Mode::empty()).unwrap();
        }
        assert_eq!(
            workspace.find(vec!["**".into()]).await.unwrap_err().code,
            "too-many"
        );
    }

    #[tokio::test]
    async fn more_matches_than_the_bound_are_an_error_not_a_part() {
        let (directory, workspace) = tree(&[]);
        for n in 0..=FILES {
            fs::File::create(directory.path().join(n.to_string())).unwrap();
        }
        assert_eq!(
            workspace.find(vec!["*".into()]).await.unwrap_err().code,
            "too-many"
        );
    }
}
