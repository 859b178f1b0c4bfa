//! Fails where files that the task left say so: results of tests in JUnit's format, a value in a JSON
//! file, a file that must or must not be there or hold a text.
//!
//! Runs nothing and trusts what the files say. That a task fails with it is the manifest's `required`.

#[cfg(target_arch = "wasm32")]
mod component;

mod check;
mod gate;
mod junit;
mod settings;

pub use gate::run;
pub use settings::{Options, SCHEMA, Settings};
