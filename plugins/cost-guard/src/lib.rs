//! Limits turns, time, money and models by caller: the first rule that names the caller holds.
//!
//! Looks at nothing else of a request, and keeps no account: what was spent yesterday is not known here.

#[cfg(target_arch = "wasm32")]
mod component;

mod budget;
mod settings;

pub use budget::{Rejection, Request, Verdict, validate};
pub use settings::{SCHEMA, Settings};
