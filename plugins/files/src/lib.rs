//! Files of a workspace: what plugins ask of the host, and a directory that answers in its place in
//! tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use patterns::{PathPattern, segments};

/// Bytes that are asked for at once.
pub const PIECE: u32 = 1 << 20;

/// What the host does with the workspace. No path leaves it.
pub trait Files {
    /// Paths and sizes of the regular files that match.
    ///
    /// # Errors
    /// The host refused, with its code in brackets.
    fn find(&self, patterns: &[String]) -> Result<Vec<(String, u64)>, String>;

    /// At most `length` bytes from `offset` on; fewer only at the end.
    ///
    /// # Errors
    /// The host refused, with its code in brackets.
    fn read(&self, path: &str, offset: u64, length: u32) -> Result<Vec<u8>, String>;
}

/// What matches, each file once and in the order of paths.
///
/// # Errors
/// The host refused.
pub fn find(files: &impl Files, patterns: &[String]) -> Result<BTreeMap<String, u64>, String> {
    Ok(files.find(patterns)?.into_iter().collect())
}

/// All of a file of at most `most` bytes.
///
/// # Errors
/// The host refused, or the file is larger.
pub fn read(files: &impl Files, path: &str, most: u64) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    loop {
        let offset = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let piece = files.read(path, offset, PIECE)?;
        let last = piece.is_empty();
        content.extend(piece);
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > most {
            return Err(format!("{path} has more than {most} bytes"));
        }
        if last {
            return Ok(content);
        }
    }
}

/// A directory in place of the host, for tests.
#[derive(Debug)]
pub struct Directory(pub PathBuf);

impl Directory {
    fn list(&self, below: &str, found: &mut Vec<(String, u64)>) {
        for entry in fs::read_dir(self.0.join(below))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = Path::new(below).join(name).to_string_lossy().into_owned();
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => self.list(&path, found),
                Ok(metadata) => found.push((path, metadata.len())),
                Err(_) => {}
            }
        }
    }
}

impl Files for Directory {
    fn find(&self, patterns: &[String]) -> Result<Vec<(String, u64)>, String> {
        let patterns: Vec<PathPattern> = patterns
            .iter()
            .map(|pattern| PathPattern::new(pattern))
            .collect::<Result<_, _>>()?;
        let mut found = Vec::new();
        self.list("", &mut found);
        found.retain(|(path, _)| {
            patterns
                .iter()
                .any(|pattern| pattern.matches(&segments(path)))
        });
        Ok(found)
    }

    fn read(&self, path: &str, offset: u64, length: u32) -> Result<Vec<u8>, String> {
        let content =
            fs::read(self.0.join(path)).map_err(|_| format!("{path} is not there (not-found)"))?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(content.len());
        let end = start
            .saturating_add(usize::try_from(length).unwrap_or(usize::MAX))
            .min(content.len());
        Ok(content.get(start..end).unwrap_or_default().to_vec())
    }
}
