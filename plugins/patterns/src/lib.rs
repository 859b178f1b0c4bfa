//! The patterns in which rules are written, shared by the shipped plugins: text with `*`
//! ([`Wildcard`]), paths with `**` ([`PathPattern`]), and the host that a URL names ([`url::host`]).
//!
//! Nothing here touches a file system or a network. Matching takes time in proportion to pattern
//! times text at worst, whatever the pattern.

mod path;
mod sequence;
pub mod url;
mod wildcard;

pub use path::{PathPattern, segments};
pub use wildcard::Wildcard;
