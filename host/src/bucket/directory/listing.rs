//! Names in byte order, without looking into directories that cannot hold any of them.

use std::fs;
use std::io;
use std::path::Path;

use super::folders::is_absent;
use super::generation::generation;
use crate::bucket::Entry;

/// As in [`crate::bucket::Bucket::list`].
pub(super) struct Query {
    pub(super) prefix: String,
    pub(super) after: Option<String>,
    pub(super) limit: usize,
}

impl Query {
    fn wants(&self, name: &str) -> bool {
        name.starts_with(&self.prefix) && self.after.as_deref().is_none_or(|after| name > after)
    }

    /// `directory` ends in a slash.
    fn may_want_below(&self, directory: &str) -> bool {
        let in_prefix = directory.starts_with(&self.prefix) || self.prefix.starts_with(directory);
        let comes_after = |after: &str| directory > after || after.starts_with(directory);
        in_prefix && self.after.as_deref().is_none_or(comes_after)
    }
}

/// Lists below `base`, the deepest directory that the query's prefix names.
pub(super) fn list(root: &Path, base: &str, query: &Query) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let below = if base.is_empty() {
        String::new()
    } else {
        format!("{base}/")
    };
    walk(root, &below, query, &mut found)?;
    Ok(found)
}

/// `below` is empty or ends in a slash.
fn walk(root: &Path, below: &str, query: &Query, found: &mut Vec<Entry>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(below)) {
        Err(error) if is_absent(&error) => return Ok(()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A name of ours is valid UTF-8 and begins with no dot at the top.
        let Ok(part) = entry.file_name().into_string() else {
            continue;
        };
        if below.is_empty() && part.starts_with('.') {
            continue;
        }
        let kind = match entry.file_type() {
            Err(error) if is_absent(&error) => continue,
            other => other?,
        };
        // A directory sorts by its slash: `a.b` comes before `a/b`.
        let name = if kind.is_dir() {
            format!("{below}{part}/")
        } else {
            format!("{below}{part}")
        };
        let wanted = if kind.is_dir() {
            query.may_want_below(&name)
        } else {
            kind.is_file() && query.wants(&name)
        };
        if wanted {
            names.push(name);
        }
    }
    names.sort_unstable();

    for name in names {
        if found.len() >= query.limit {
            return Ok(());
        }
        if name.ends_with('/') {
            walk(root, &name, query, found)?;
            continue;
        }
        match fs::symlink_metadata(root.join(&name)) {
            Ok(metadata) => found.push(Entry {
                size: metadata.len(),
                generation: generation(&metadata),
                name,
            }),
            // Deleted since.
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
