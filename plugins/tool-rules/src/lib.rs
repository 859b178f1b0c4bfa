//! Decides which tool calls an agent may make: the request's `allowedTools` and `disallowedTools`
//! and the operator's own rules, in the CLI's syntax; writes outside the workspace and to files that
//! steer the agent or git are denied whatever the rules say.
//!
//! A list of allowed tools restricts: what it does not match is denied. Deny wins over allow. A
//! command line is allowed only where each of its commands is; in doubt it is not.

#[cfg(target_arch = "wasm32")]
mod component;

mod call;
mod policy;
mod rule;
mod settings;
mod shell;

pub use call::{Call, Lists};
pub use policy::{Decision, Ruling, decide};
pub use settings::{SCHEMA, Settings};
