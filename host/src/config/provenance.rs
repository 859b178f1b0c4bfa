//! Where a value came from.

use std::fmt;

/// One source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `config.default.toml`
    Default,
    /// The file.
    File(std::path::PathBuf),
    /// The variable.
    Environment(String),
    /// The flag.
    Flag,
    /// Follows from something else, e.g. the loopback address because everything is embedded.
    Derived(String),
}

impl Origin {
    /// What a path in the value is relative to, where it is not meant from the working directory.
    pub(super) fn directory(&self) -> &std::path::Path {
        let file = match self {
            Self::File(file) => file.parent(),
            _ => None,
        };
        file.filter(|directory| !directory.as_os_str().is_empty())
            .unwrap_or(std::path::Path::new("."))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "file {}", path.display()),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag => formatter.write_str("command line"),
            Self::Derived(why) => write!(formatter, "derived: {why}"),
        }
    }
}
