//! A file before it goes on its way into an object.

use std::io;

use bytes::BytesMut;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::bucket::Uploaded;

/// Read at once.
const PIECE: usize = 256 * 1024;

/// Reads the file once: what it is, and its CRC32C, so that what arrives is this or is refused. None where it is
/// larger than `limit`. The file is at its beginning afterwards.
pub(super) async fn measure(
    file: &mut tokio::fs::File,
    limit: u64,
) -> io::Result<Option<(Uploaded, u32)>> {
    let (mut size, mut hash, mut checksum) = (0, Sha256::new(), 0);
    let mut piece = BytesMut::with_capacity(PIECE);
    while file.read_buf(&mut piece).await? > 0 {
        size += piece.len() as u64;
        if size > limit {
            return Ok(None);
        }
        hash.update(&piece);
        checksum = crc32c::crc32c_append(checksum, &piece);
        piece.clear();
    }
    file.rewind().await?;
    let sha256 = hex::encode(hash.finalize());
    Ok(Some((Uploaded { size, sha256 }, checksum)))
}
