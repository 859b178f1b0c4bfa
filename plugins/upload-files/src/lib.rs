//! Keeps files of the workspace after a task: those that match the caller's patterns go to the
//! task's own place in the bucket, each once.
//!
//! Finding and streaming are the host's; this crate checks options, chooses and reports. One file
//! that cannot be kept does not lose the others.

#[cfg(target_arch = "wasm32")]
mod component;

mod options;
mod settings;
mod upload;

pub use options::Options;
pub use settings::{SCHEMA, Settings};
pub use upload::{Entry, Failure, Files, Stored, run};
