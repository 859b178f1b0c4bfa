//! Names the hosts that tool calls may reach: `WebFetch`, URLs that MCP tools are given, and what
//! command lines fetch, clone, push and install, read as bash reads them. What is not on the list, and
//! what cannot be told, is denied with the list.
//!
//! This is policy, not a wall: a program that runs can open any connection.

#[cfg(target_arch = "wasm32")]
mod component;

mod address;
mod commands;
mod git;
mod policy;
mod settings;

pub use policy::{Call, Denial, decide};
pub use settings::{SCHEMA, Settings};
