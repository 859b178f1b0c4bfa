//! Finding one's way in an event log: `sessions/{id}/{first sequence, 12 digits}.jsonl`.
//!
//! A chunk holds whole lines, each ended by `\n`, none of them blank. It is written once.

use bytes::Bytes;

use super::{TaskError, TaskId, names};
use crate::bucket::Bucket;

/// Names read at once.
const PAGE: usize = 1000;

/// How far a log reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// Number of the last line; 0 where there is none.
    pub(super) last_sequence: u64,
    /// Bytes of all chunks.
    pub(super) size: u64,
}

/// The chunk that begins with this line, and how many lines it holds: at least one. A loss of power may leave
/// an empty object, which is none.
pub(super) async fn read(
    bucket: &dyn Bucket,
    id: &TaskId,
    first: u64,
) -> Result<Option<(Bytes, u64)>, TaskError> {
    let Some(chunk) = bucket.get(&names::chunk(id, first)).await? else {
        return Ok(None);
    };
    let lines = lines_in(&chunk.data);
    Ok((lines > 0).then_some((chunk.data, lines)))
}

/// Looks for the end of a log.
pub(super) async fn end(bucket: &dyn Bucket, id: &TaskId) -> Result<End, TaskError> {
    let mut end = End::default();
    let mut last = None;
    each(bucket, id, |first, size| {
        end.size += size;
        last = Some(first);
        true
    })
    .await?;
    if let Some(first) = last
        && let Some(chunk) = bucket.get(&names::chunk(id, first)).await?
    {
        end.last_sequence = first.saturating_sub(1) + lines_in(&chunk.data);
    }
    Ok(end)
}

/// The first sequence number of the last chunk that begins at or before `sequence`.
pub(super) async fn holding(
    bucket: &dyn Bucket,
    id: &TaskId,
    sequence: u64,
) -> Result<Option<u64>, TaskError> {
    let mut found = None;
    each(bucket, id, |first, _size| {
        let reached = first > sequence;
        if !reached {
            found = Some(first);
        }
        !reached
    })
    .await?;
    Ok(found)
}

/// Visits chunks in order, with first sequence number and size, until `visit` has enough.
async fn each(
    bucket: &dyn Bucket,
    id: &TaskId,
    mut visit: impl FnMut(u64, u64) -> bool + Send,
) -> Result<(), TaskError> {
    let prefix = names::session(id);
    let mut after: Option<String> = None;
    loop {
        let page = bucket.list(&prefix, after.as_deref(), PAGE).await?;
        for entry in &page {
            match names::first_of(&entry.name) {
                Some(first) if !visit(first, entry.size) => return Ok(()),
                _ => {}
            }
        }
        match page.into_iter().nth(PAGE - 1) {
            Some(last) => after = Some(last.name),
            None => return Ok(()),
        }
    }
}

fn lines_in(chunk: &[u8]) -> u64 {
    chunk
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .count() as u64
}
