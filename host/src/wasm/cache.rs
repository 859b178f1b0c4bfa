//! Compiled components on disk, so that a job does not compile what the gateway compiled.
//!
//! What lies here is machine code that will be run as it is. So the directory must be ours alone,
//! every file ours alone, and its content is hashed: a file that was cut short by a full disk is
//! compiled anew. Whoever can write as our user can do anything anyway.
//!
//! An image may bring some along: a job of Cloud Run starts on an empty disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::compiler::MAX_CODE;

/// Files that are kept, and their bytes; the oldest go first. Several sets of plugins fit.
const FILES: usize = 64;
const BYTES: u64 = 2 << 30;
/// Larger files are not read.
const FILE_SIZE: u64 = MAX_CODE + DIGEST as u64;
/// Length of the digest that each file begins with.
const DIGEST: usize = 32;

/// A directory of compiled components that is ours, and one that came with an image.
#[derive(Clone, Debug)]
pub struct Cache {
    ours: Option<PathBuf>,
    shipped: Option<PathBuf>,
}

impl Cache {
    /// The cache below `data_dir`, and `shipped`, which is only read. A directory that cannot be trusted is
    /// left out, with a warning; without any, components are compiled each time.
    pub fn open(data_dir: &Path, shipped: Option<&Path>) -> Self {
        let ours = Self::place(data_dir);
        let parent = ours.parent().unwrap_or(data_dir);
        let made = make_private(parent).and_then(|()| make_private(&ours));
        let shipped_is_private = |shipped: &Path| check_private(&fs::metadata(shipped)?);
        Self {
            ours: trusted(&ours, made).then_some(ours),
            shipped: shipped
                .filter(|shipped| trusted(shipped, shipped_is_private(shipped)))
                .map(Path::to_owned),
        }
    }

    /// Where it is.
    pub fn place(data_dir: &Path) -> PathBuf {
        data_dir.join("cache/wasm")
    }

    /// What was kept under `key`, or came with the image, if it is whole.
    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let places = self.ours.iter().chain(&self.shipped);
        places.into_iter().find_map(|directory| {
            read(&directory.join(key)).unwrap_or_else(|error| {
                tracing::warn!(
                    key, directory = %directory.display(), %error,
                    "a compiled plugin cannot be read"
                );
                None
            })
        })
    }

    /// Keeps `code` under `key`. A failure is a warning: the cache only saves time.
    pub(super) fn put(&self, key: &str, code: &[u8]) {
        let Some(directory) = &self.ours else {
            return;
        };
        if let Err(error) = write(directory, key, code).and_then(|()| prune(directory)) {
            tracing::warn!(key, %error, "a compiled plugin could not be kept");
        }
    }
}

fn write(directory: &Path, key: &str, code: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(directory)?;
    file.write_all(&Sha256::digest(code))?;
    file.write_all(code)?;
    file.persist(directory.join(key))?;
    Ok(())
}

fn prune(directory: &Path) -> io::Result<()> {
    let mut files: Vec<_> = fs::read_dir(directory)?
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, entry.path(), metadata.len()))
        })
        .collect();
    files.sort();
    let mut bytes: u64 = 0;
    let newest = files.iter().rev().take(FILES);
    let kept = newest.take_while(|(_, _, size)| {
        bytes = bytes.saturating_add(*size);
        bytes <= BYTES
    });
    let surplus = files.len() - kept.count();
    for (_, path, _) in files.into_iter().take(surplus) {
        match fs::remove_file(path) {
            // Another process prunes too.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    check_private(&metadata)?;
    if !metadata.is_file() || metadata.len() > FILE_SIZE {
        return Err(io::Error::other("not a file that was written here"));
    }
    let mut content = Vec::new();
    file.take(FILE_SIZE).read_to_end(&mut content)?;
    let Some((digest, code)) = content.split_at_checked(DIGEST) else {
        return Err(io::Error::other("cut short"));
    };
    if Sha256::digest(code).as_slice() != digest {
        return Err(io::Error::other("content does not match its digest"));
    }
    content.drain(..DIGEST);
    Ok(Some(content))
}

/// The name of a compiled component: its digest, and everything that the compiled form depends on.
pub(super) fn key(digest: &str, engine: &wasmtime::Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}", hasher.finish())
}

/// Whether a directory can be used; says so where it cannot.
fn trusted(directory: &Path, found: io::Result<()>) -> bool {
    if let Err(error) = &found {
        tracing::warn!(
            directory = %directory.display(), %error,
            "compiled plugins are neither kept there nor taken from there"
        );
    }
    found.is_ok()
}

/// Makes a directory that only we can enter, or makes sure that it is one.
fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let metadata = fs::symlink_metadata(directory)?;
    if !metadata.is_dir() {
        return Err(io::Error::other("not a directory"));
    }
    check_private(&metadata)
}

/// That nobody can have changed it but our user, and root, who can do anything anyway.
fn check_private(metadata: &fs::Metadata) -> io::Result<()> {
    if ![rustix::process::geteuid().as_raw(), 0].contains(&metadata.uid()) {
        return Err(io::Error::other("belongs to another user"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "others can write it; `chmod go-w` mends that",
        ));
    }
    Ok(())
}

/// Reads a whole file of at most `limit` bytes; none where it is larger or no regular file.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    Ok((content.len() as u64 <= limit).then_some(content))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_put_is_got_and_the_directory_is_private() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::open(data.path(), None);
        assert_eq!(cache.get("k"), None);
        cache.put("k", b"code");
        assert_eq!(cache.get("k").unwrap(), b"code");
        let mode = fs::metadata(data.path().join("cache/wasm"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn what_came_with_an_image_is_got_and_never_changed() {
        let (ours, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Cache::open(image.path(), None).put("shipped", b"of the image");
        let place = Cache::place(image.path());
        let cache = Cache::open(ours.path(), Some(&place));
        assert_eq!(cache.get("shipped").unwrap(), b"of the image");
        cache.put("compiled", b"here");
        assert_eq!(cache.get("compiled").unwrap(), b"here");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        let others_may_write = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        others_may_write(&place.join("shipped"), 0o666);
        assert_eq!(cache.get("shipped"), None);
        others_may_write(&place, 0o777);
        assert!(Cache::open(ours.path(), Some(&place)).shipped.is_none());
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let data = tempfile::tempdir().unwrap();
        Cache::open(data.path(), None);
        let directory = data.path().join("cache/wasm");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(Cache::open(data.path(), None).ours.is_none());
    }

    #[test]
    fn a_directory_that_is_a_link_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("cache")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), data.path().join("cache/wasm")).unwrap();
        assert!(Cache::open(data.path(), None).ours.is_none());
    }

    #[test]
    fn a_damaged_linked_or_shared_file_is_not_used() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::open(data.path(), None);
        let file = data.path().join("cache/wasm/k");

        cache.put("k", b"code");
        let mut content = fs::read(&file).unwrap();
        content.pop();
        fs::write(&file, content).unwrap();
        assert_eq!(cache.get("k"), None);

        cache.put("k", b"code");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(cache.get("k"), None);

        cache.put("target", b"code");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(data.path().join("cache/wasm/target"), &file).unwrap();
        assert_eq!(cache.get("k"), None);
    }

    #[test]
    fn the_size_of_all_files_is_bounded() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::open(data.path(), None);
        for n in 0..10 {
            let file = File::create(data.path().join(format!("cache/wasm/{n}"))).unwrap();
            file.set_len(BYTES / 4).unwrap();
        }
        cache.put("newest", b"code");
        let left: Vec<_> = fs::read_dir(data.path().join("cache/wasm"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 4, "{left:?}");
        assert_eq!(cache.get("newest").unwrap(), b"code");
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::open(data.path(), None);
        for n in 0..FILES + 3 {
            cache.put(&n.to_string(), b"code");
        }
        assert_eq!(
            fs::read_dir(data.path().join("cache/wasm"))
                .unwrap()
                .count(),
            FILES
        );
    }
}
