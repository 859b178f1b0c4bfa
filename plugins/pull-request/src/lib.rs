//! Opens a pull request for the branch that an earlier action pushed: at GitHub, or as a merge request
//! at GitLab. One that is open already for the same branches is found instead.
//!
//! The token is the request's; this crate names it and never sees it. Which server speaks which
//! protocol is the operator's word ([`Settings`]), so no repository's address leads anywhere else.

#[cfg(target_arch = "wasm32")]
mod component;
mod forge;
mod open;
mod options;
mod repository;
mod settings;

pub use open::{Failure, Http, Pushed, Request, Response, Task, run};
pub use options::Options;
pub use repository::Repository;
pub use settings::{Kind, SCHEMA, Settings};
