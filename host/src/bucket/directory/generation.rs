//! Generations as times of modification, in nanoseconds since 1970.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bucket::Generation;

/// The generation of a file.
pub(super) fn generation(metadata: &Metadata) -> Generation {
    Generation(
        metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
    )
}

/// The generation that follows `previous`: now, or later where the clock is behind.
pub(super) fn after(previous: Generation) -> Generation {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    Generation(now.max(previous.0.saturating_add(1)))
}

/// Makes it the generation of what is in the file.
pub(super) fn stamp(file: &File, generation: Generation) -> io::Result<()> {
    let since = Duration::from_nanos(u64::try_from(generation.0).unwrap_or_default());
    file.set_modified(UNIX_EPOCH + since)
}
