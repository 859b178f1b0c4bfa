//! `{data_dir}/jobs/{id}.log`: what a job says to its operator.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

use crate::task::TaskId;

/// Logs of jobs that ended badly are kept, the newest so many.
const MAX_KEPT: usize = 100;

/// The end of a log tells most: the rest of a longer one is cut.
const MAX_LENGTH: u64 = 1024 * 1024;

/// The folder of the jobs' logs.
#[derive(Clone, Debug)]
pub(super) struct JobLogs {
    folder: PathBuf,
}

impl JobLogs {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// For the job to write to; goes on after what an earlier attempt left.
    pub(super) fn open(&self, id: &TaskId) -> io::Result<File> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.path(id))
    }

    /// The job ended well: nobody will ask.
    pub(super) fn remove(&self, id: &TaskId) -> io::Result<()> {
        fs::remove_file(self.path(id))
    }

    /// The job ended badly: its log stays, within bounds.
    pub(super) fn keep(&self, id: &TaskId) -> io::Result<()> {
        cut(&self.path(id))?;
        let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            kept.push((entry.metadata()?.modified()?, entry.path()));
        }
        kept.sort_unstable_by(|one, other| other.cmp(one));
        kept.into_iter()
            .skip(MAX_KEPT)
            .try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn path(&self, id: &TaskId) -> PathBuf {
        self.folder.join(format!("{id}.log"))
    }
}

/// Leaves the last [`MAX_LENGTH`] bytes.
fn cut(path: &PathBuf) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    if length <= MAX_LENGTH {
        return Ok(());
    }
    file.seek(SeekFrom::Start(length - MAX_LENGTH))?;
    let mut end = Vec::new();
    (&file).take(MAX_LENGTH).read_to_end(&mut end)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&end)?;
    file.set_len(MAX_LENGTH)
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

    #[test]
    fn a_kept_log_is_cut_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let logs = JobLogs::new(folder.path().join("jobs"));
        let id: TaskId = "t1".parse().unwrap();
        let mut file = logs.open(&id).unwrap();
        file.write_all(&vec![b'a'; MAX_LENGTH as usize]).unwrap();
        file.write_all(b"the end").unwrap();
        logs.keep(&id).unwrap();
        let kept = fs::read(folder.path().join("jobs/t1.log")).unwrap();
        assert_eq!(kept.len() as u64, MAX_LENGTH);
        assert!(kept.ends_with(b"the end"));
    }

    #[test]
    fn only_so_many_logs_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let logs = JobLogs::new(folder.path().to_owned());
        for n in 0..MAX_KEPT + 20 {
            let id: TaskId = format!("t{n}").parse().unwrap();
            logs.open(&id).unwrap();
            logs.keep(&id).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MAX_KEPT);
        assert!(
            folder
                .path()
                .join(format!("t{}.log", MAX_KEPT + 19))
                .exists()
        );
    }
}
