//! What a bucket's directory looks like on the disk, in blocking calls.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::folders::{self, is_absent};
use super::generation::{after, generation, stamp};
use crate::bucket::names::Name;
use crate::bucket::{BucketError, Durability, Generation, Object, Result, Uploaded, When};

/// A temporary file of a process that is gone may be removed after this.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3600);
/// Bytes read at once in an upload.
const UPLOAD_STEP: usize = 128 * 1024;

#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
}

impl Disk {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(root)?;
        let disk = Self {
            root: root.canonicalize()?,
        };
        make(&disk.root.join(".temp"))?;
        make(&disk.root.join(".locks"))?;

        let probe = disk.temporary()?;
        let odd = Generation(1_700_000_000_123_456_789);
        stamp(probe.as_file(), odd)?;
        if generation(&probe.as_file().metadata()?) != odd {
            let text = format!(
                "the file system of {} does not keep times to the nanosecond",
                disk.root.display()
            );
            return Err(io::Error::new(ErrorKind::Unsupported, text));
        }
        Ok(disk)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Their names begin with the process id of their maker.
    pub(super) fn remove_left_overs(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(".temp"))? {
            let entry = entry?;
            let name = entry.file_name();
            let maker = name
                .to_str()
                .and_then(|name| name.split_once('-'))
                .map(|(pid, _)| pid);
            let alive = maker.is_some_and(|pid| Path::new("/proc").join(pid).exists());
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT_OVER_AFTER));
            if old && !alive && fs::remove_file(entry.path()).is_ok() {
                tracing::info!(file = %entry.path().display(), "removed a half-written file of a dead process");
            }
        }
        Ok(())
    }

    /// The open file and what was known of it then; none where no object stands.
    pub(super) fn open_object(&self, name: &Name) -> Result<Option<(File, Metadata)>> {
        let opened = File::open(name.below(&self.root)).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        match opened {
            Ok((file, metadata)) => Ok(metadata.is_file().then_some((file, metadata))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(failed(name)(error)),
        }
    }

    /// The same, to be read from a place on, and the size.
    pub(super) fn open_object_at(&self, name: &Name, from: u64) -> Result<Option<(File, u64)>> {
        let Some((mut file, metadata)) = self.open_object(name)? else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(from)).map_err(failed(name))?;
        Ok(Some((file, metadata.len())))
    }

    pub(super) fn get(&self, name: &Name) -> Result<Option<Object>> {
        let Some((mut file, metadata)) = self.open_object(name)? else {
            return Ok(None);
        };
        let mut data = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut data).map_err(failed(name))?;
        Ok(Some(Object {
            data: data.into(),
            generation: generation(&metadata),
        }))
    }

    pub(super) fn put(
        &self,
        name: &Name,
        data: &[u8],
        when: When,
        durability: Durability,
    ) -> Result<Generation> {
        let mut temp = self.temporary().map_err(failed(name))?;
        temp.write_all(data).map_err(failed(name))?;
        self.publish(name, temp, when, durability)
    }

    pub(super) fn upload(&self, name: &Name, mut file: File, limit: u64) -> Result<Uploaded> {
        let mut temp = self.temporary().map_err(failed(name))?;
        let mut hash = Sha256::new();
        let mut size = 0_u64;
        let mut step = vec![0; UPLOAD_STEP];
        loop {
            let read = match file.read(&mut step) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.map_err(failed(name))?,
            };
            let part = step.get(..read).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            size += part.len() as u64;
            if size > limit {
                return Err(BucketError::TooLarge {
                    name: name.as_str().to_owned(),
                    limit,
                });
            }
            hash.update(part);
            temp.write_all(part).map_err(failed(name))?;
        }
        self.publish(name, temp, When::Always, Durability::Synced)?;
        Ok(Uploaded {
            size,
            sha256: hex::encode(hash.finalize()),
        })
    }

    pub(super) fn append(&self, name: &Name, data: &[u8]) -> Result<()> {
        let path = name.below(&self.root);
        let open = || {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
        };
        let mut file = self.in_directory_of(&path, open).map_err(failed(name))?;
        let before = file
            .metadata()
            .map(|metadata| generation(&metadata))
            .map_err(failed(name))?;
        file.write_all(data).map_err(failed(name))?;
        stamp(&file, after(before)).map_err(failed(name))
    }

    pub(super) fn delete(&self, name: &Name, when: When) -> Result<()> {
        let path = name.below(&self.root);
        let lock = self.lock(name).map_err(failed(name))?;
        let Some(present) = self.present(name)? else {
            return Ok(());
        };
        let wanted = match when {
            When::Always => true,
            When::Matches(generation) => present == generation,
            When::Absent => false,
        };
        if !wanted {
            return Err(BucketError::Conflict(name.as_str().to_owned()));
        }
        // Before the object goes, so that whoever makes it anew sees the mark.
        let deleted = lock
            .metadata()
            .map(|metadata| generation(&metadata))
            .map_err(failed(name))?;
        stamp(&lock, deleted.max(present)).map_err(failed(name))?;
        fs::remove_file(&path).map_err(failed(name))?;
        if let Err(error) = self.remove_empty_parents(&path) {
            tracing::debug!(%error, "directories that may be empty stay");
        }
        Ok(())
    }

    /// Puts a finished temporary file under its name.
    fn publish(
        &self,
        name: &Name,
        mut temp: NamedTempFile,
        when: When,
        durability: Durability,
    ) -> Result<Generation> {
        let path = name.below(&self.root);
        let conflict = || BucketError::Conflict(name.as_str().to_owned());
        let _lock = match when {
            When::Absent => None,
            When::Matches(_) | When::Always => Some(self.lock(name).map_err(failed(name))?),
        };
        let generation = loop {
            let present = self.present(name)?;
            match when {
                When::Absent if present.is_some() => return Err(conflict()),
                When::Matches(wanted) if present != Some(wanted) => return Err(conflict()),
                _ => {}
            }
            let deleted = self.last_deleted(name).map_err(failed(name))?;
            let generation = after(present.unwrap_or(deleted).max(deleted));
            stamp(temp.as_file(), generation).map_err(failed(name))?;
            if durability == Durability::Synced {
                temp.as_file().sync_all().map_err(failed(name))?;
            }
            match self.rename(temp, &path, present.is_some()) {
                Ok(()) => break generation,
                Err((error, unplaced)) if error.kind() == ErrorKind::AlreadyExists => {
                    if when == When::Absent {
                        return Err(conflict());
                    }
                    // Created without the lock since we looked: look again.
                    temp = unplaced;
                }
                Err((error, _)) => return Err(failed(name)(error)),
            }
        };
        if durability == Durability::Synced {
            match folders::sync(path.parent().unwrap_or(&self.root)) {
                // Somebody deleted the object since, and with it the directory.
                Err(error) if is_absent(&error) => {}
                other => other.map_err(failed(name))?,
            }
        }
        Ok(generation)
    }

    fn rename(
        &self,
        temp: NamedTempFile,
        path: &Path,
        replace: bool,
    ) -> std::result::Result<(), (io::Error, NamedTempFile)> {
        let place = |temp: NamedTempFile| {
            let placed = if replace {
                temp.persist(path)
            } else {
                temp.persist_noclobber(path)
            };
            placed
                .map(|_file| ())
                .map_err(|error| (error.error, error.file))
        };
        match place(temp) {
            Err((error, unplaced)) if error.kind() == ErrorKind::NotFound => {
                match self.make_directory_of(path) {
                    Ok(_stays) => place(unplaced),
                    Err(error) => Err((error, unplaced)),
                }
            }
            other => other,
        }
    }

    fn in_directory_of<T>(&self, path: &Path, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match work() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let _stays = self.make_directory_of(path)?;
                work()
            }
            other => other,
        }
    }

    /// Makes the directory that `path` lies in; nobody removes it while the lock is held, however often
    /// others make and delete their last objects there.
    pub(super) fn make_directory_of(&self, path: &Path) -> io::Result<File> {
        let stays = self.lock_file(&self.folders_lock())?;
        stays.lock_shared()?;
        folders::make(&self.root, path.parent().unwrap_or(&self.root))?;
        Ok(stays)
    }

    /// Waits for those who have just made one of them and not used it yet.
    fn remove_empty_parents(&self, path: &Path) -> io::Result<()> {
        let alone = self.lock_file(&self.folders_lock())?;
        alone.lock()?;
        folders::remove_empty_parents(&self.root, path);
        Ok(())
    }

    fn present(&self, name: &Name) -> Result<Option<Generation>> {
        match fs::metadata(name.below(&self.root)) {
            Ok(metadata) => Ok(Some(generation(&metadata))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(failed(name)(error)),
        }
    }

    fn temporary(&self) -> io::Result<NamedTempFile> {
        let prefix = format!("{}-", std::process::id());
        tempfile::Builder::new()
            .prefix(&prefix)
            .rand_bytes(12)
            .tempfile_in(self.root.join(".temp"))
    }

    fn lock_path(&self, name: &Name) -> PathBuf {
        self.root.join(format!(".locks/{:02x}", name.shard()))
    }

    fn folders_lock(&self) -> PathBuf {
        self.root.join(".locks/folders")
    }

    /// Waits for the name's lock, which is free again when the file is dropped.
    fn lock(&self, name: &Name) -> io::Result<File> {
        let file = self.lock_file(&self.lock_path(name))?;
        file.lock()?;
        Ok(file)
    }

    fn lock_file(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    }

    /// No object under this name's lock that is gone had a greater generation.
    fn last_deleted(&self, name: &Name) -> io::Result<Generation> {
        match fs::metadata(self.lock_path(name)) {
            Ok(metadata) => Ok(generation(&metadata)),
            Err(error) if is_absent(&error) => Ok(Generation(0)),
            Err(error) => Err(error),
        }
    }
}

fn failed(name: &Name) -> impl Fn(io::Error) -> BucketError {
    move |source| BucketError::Io {
        name: name.as_str().to_owned(),
        source,
    }
}
