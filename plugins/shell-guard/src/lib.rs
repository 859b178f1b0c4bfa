//! Judges what a command line of the agent does: it is read as bash reads it, never searched for
//! words. Downloads that are run, writes outside the workspace, other users' rights, files with
//! credentials. What cannot be read, or cannot be told, is denied with what to write instead.
//!
//! Has no opinion about what it does not deny: allowing is other plugins' business.

#[cfg(target_arch = "wasm32")]
mod component;

mod credentials;
mod git;
mod guard;
mod settings;
mod writes;

pub use guard::{Call, Denial, decide};
pub use settings::{SCHEMA, Settings};
