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
