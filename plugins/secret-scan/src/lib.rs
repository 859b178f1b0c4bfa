//! Finds credentials of well-known forms in the files of a workspace. What is told of one is where it
//! stands, its form and a fingerprint; never the thing itself.
//!
//! Finds accidents, not an agent that encodes. The host looks through commits by itself before a push.

#[cfg(target_arch = "wasm32")]
mod component;

mod entropy;
mod forms;
mod scan;
mod settings;

pub use scan::{Finding, Scanned, scan};
pub use settings::{Options, SCHEMA, Settings};
