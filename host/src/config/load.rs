//! Merging the sources.

use std::path::PathBuf;

use super::Config;

/// Where settings come from; tests hand in their own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config` or `GATEHOUSE_CONFIG`.
    pub file: Option<PathBuf>,
    /// The process's environment, or a test's.
    pub environment: std::collections::BTreeMap<String, String>,
    /// Flags: dotted key to value.
    pub flags: std::collections::BTreeMap<String, String>,
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

/// Merges, converts, checks. Every mistake names its key and where it was set.
pub fn load(_sources: &Sources) -> Result<Config, Mistakes> {
    unimplemented!()
}
