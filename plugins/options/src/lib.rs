//! What the shipped actions read alike: options whose unknown members are told with the one that was
//! meant ([`Members`]), text with `{taskId}` and `{date}` in it ([`Template`]), names of branches
//! ([`branch::check`]).
//!
//! Every error is a sentence for whoever wrote the options; it repeats no value.

pub mod branch;
mod members;
mod template;

pub use members::Members;
pub use template::Template;
