//! A file on its way into an object: counted, hashed, and stopped at its limit.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use google_cloud_storage::streaming_source::StreamingSource;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::bucket::Uploaded;

/// Read at once.
const PIECE: usize = 256 * 1024;

/// The file as the client reads it.
pub(super) struct Counted {
    file: tokio::fs::File,
    limit: u64,
    count: Count,
}

/// What became of it.
#[derive(Clone)]
pub(super) struct Count(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    size: u64,
    hash: Sha256,
    too_large: bool,
}

impl Counted {
    pub(super) fn new(file: tokio::fs::File, limit: u64) -> (Self, Count) {
        let count = Count(Arc::default());
        let counted = Self {
            file,
            limit,
            count: count.clone(),
        };
        (counted, count)
    }
}

impl Count {
    /// What was read; none where it was more than the limit.
    pub(super) fn finish(self) -> Option<Uploaded> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!state.too_large).then(|| Uploaded {
            size: state.size,
            sha256: hex::encode(state.hash.clone().finalize()),
        })
    }

    /// False where that is above the limit.
    fn add(&self, piece: &[u8], limit: u64) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.size += piece.len() as u64;
        state.hash.update(piece);
        state.too_large = state.size > limit;
        !state.too_large
    }
}

impl StreamingSource for Counted {
    type Error = io::Error;

    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        let mut piece = BytesMut::with_capacity(PIECE);
        match self.file.read_buf(&mut piece).await {
            Ok(0) => None,
            // An error ends the upload before it is an object.
            Ok(_) if !self.count.add(&piece, self.limit) => {
                Some(Err(io::ErrorKind::FileTooLarge.into()))
            }
            Ok(_) => Some(Ok(piece.freeze())),
            Err(error) => Some(Err(error)),
        }
    }
}
