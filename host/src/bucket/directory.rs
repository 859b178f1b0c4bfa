//! A directory as a bucket.

use std::path::PathBuf;

/// Objects as plain files below one directory, shared by any number of processes.
#[derive(Debug)]
pub struct DirectoryBucket {}

impl DirectoryBucket {
    /// Opens the directory, making it (mode 0700) where it is absent.
    pub fn open(_root: PathBuf) -> std::io::Result<Self> {
        unimplemented!()
    }
}
