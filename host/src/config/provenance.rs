//! Where a value came from.

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
