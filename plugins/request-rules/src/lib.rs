//! Limits what requests may ask for: length of the prompt, repositories, models, turns, time, money,
//! names of secrets, permission modes, hosts of callbacks. Everything is off until a setting says so.
//!
//! Sees no secret's value and no message holds anything of the request: a rejection says what was
//! expected. What the request's schema says is the host's to check.

#[cfg(target_arch = "wasm32")]
mod component;

mod limits;
mod repository;
mod settings;

pub use limits::{Rejection, Request, Verdict, validate};
pub use settings::{SCHEMA, Settings};
