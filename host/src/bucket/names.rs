//! Object names that are safe as paths.

use std::path::{Path, PathBuf};

use crate::bucket::{BucketError, Result};

/// Cloud Storage's bound for a name, in bytes.
const NAME_LIMIT: usize = 1024;
/// What file systems allow for one part, in bytes.
const PART_LIMIT: usize = 255;

/// A checked name: relative, without empty, `.` or `..` parts and control characters, and not
/// beginning with a dot, which is how our own directories begin.
#[derive(Debug)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn parse(name: &str) -> Result<Self> {
        if name.len() > NAME_LIMIT || name.starts_with('.') || !name.split('/').all(is_part) {
            return Err(BucketError::InvalidName(
                name.chars().take(NAME_LIMIT).collect(),
            ));
        }
        Ok(Self(name.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn below(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }

    /// Which lock guards the name. The same in every process and version.
    pub(super) fn shard(&self) -> u8 {
        let [_, _, _, low] = crc32c::crc32c(self.0.as_bytes()).to_be_bytes();
        low
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty()
        && part != "."
        && part != ".."
        && part.len() <= PART_LIMIT
        && !part.chars().any(char::is_control)
}

/// The directory that holds everything which begins with `prefix`; empty for the root.
pub(super) fn directory_of(prefix: &str) -> Result<String> {
    match prefix.rsplit_once('/') {
        None => Ok(String::new()),
        Some((directory, _rest)) => Name::parse(directory)
            .map(|name| name.0)
            .map_err(|_| BucketError::InvalidName(prefix.chars().take(NAME_LIMIT).collect())),
    }
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
    fn names_that_leave_the_directory_or_hide_in_it_are_refused() {
        let long_part = "a".repeat(256);
        let long_name = "a/".repeat(512) + "a";
        for name in [
            "",
            "/",
            "/etc/passwd",
            "a//b",
            "a/",
            "..",
            "a/../b",
            "a/.",
            "./a",
            ".locks/00",
            ".temp/x",
            "a\0b",
            "a\nb",
            &long_part,
            &long_name,
        ] {
            assert!(
                matches!(Name::parse(name), Err(BucketError::InvalidName(_))),
                "{name:?}"
            );
        }
        for name in ["a", "a/b", "files/x/.github/ci.yml", "a b/ü", "a..b/..."] {
            assert_eq!(Name::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_prefix_names_the_directory_before_its_last_slash() {
        assert_eq!(directory_of("").unwrap(), "");
        assert_eq!(directory_of("tas").unwrap(), "");
        assert_eq!(directory_of("tasks/").unwrap(), "tasks");
        assert_eq!(directory_of("sessions/x/0000").unwrap(), "sessions/x");
        assert!(directory_of("../").is_err());
        assert!(directory_of("/").is_err());
    }
}
