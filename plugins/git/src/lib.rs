//! Commits what the agent changed and pushes it, the agent's own commits included.
//!
//! Doing it safely is the host's; this crate says what is committed, by whom, with which words, and
//! which branch it is pushed to.

mod act;
#[cfg(target_arch = "wasm32")]
mod component;
mod options;
mod settings;

pub use act::{Cloned, Commit, Committed, Failure, Git, Pushed, Recovery, Task, run};
pub use options::{Conflict, Options};
pub use settings::{SCHEMA, Settings};
