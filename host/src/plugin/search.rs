//! What a search of the workspace asks for.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::Failure;

/// Patterns of one search, and bytes of one pattern.
const PATTERNS: usize = 100;
const PATTERN: usize = 1024;
/// Directories that are left out unless a pattern names them.
const SKIPPED: [&str; 2] = [".git", "node_modules"];

/// Patterns, and which of the directories that are usually left out they name.
pub(super) struct Search {
    patterns: GlobSet,
    named: Vec<&'static str>,
}

impl Search {
    pub(super) fn new(patterns: &[String]) -> Result<Self, Failure> {
        if patterns.len() > PATTERNS || patterns.iter().any(|pattern| pattern.len() > PATTERN) {
            return Err(Failure::new(
                "bad-pattern",
                format!("a search has at most {PATTERNS} patterns of {PATTERN} bytes"),
            ));
        }
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let text = pattern.strip_prefix("./").unwrap_or(pattern);
            if text.starts_with('/') || text.split('/').any(|part| part == "..") {
                return Err(Failure::new(
                    "bad-pattern",
                    format!("`{pattern}` leads out of the workspace; patterns are relative to it"),
                ));
            }
            let bad = |error: globset::Error| Failure::new("bad-pattern", error.to_string());
            // As shells have it: `*` stays within one directory, `**` does not.
            set.add(
                GlobBuilder::new(text)
                    .literal_separator(true)
                    .build()
                    .map_err(bad)?,
            );
        }
        let names = |skipped: &&str| {
            patterns
                .iter()
                .any(|pattern| pattern.split('/').any(|part| part == *skipped))
        };
        let named = SKIPPED
            .iter()
            .copied()
            .filter(|skipped| names(skipped))
            .collect();
        let patterns = set
            .build()
            .map_err(|error| Failure::new("bad-pattern", error.to_string()))?;
        Ok(Self { patterns, named })
    }

    /// Whether a directory of this name is looked into.
    pub(super) fn enters(&self, name: &str) -> bool {
        !SKIPPED.contains(&name) || self.named.contains(&name)
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.patterns.is_match(path)
    }
}
