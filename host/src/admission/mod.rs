//! From a body to an admitted task: schema, defaults, validators in order.
//!
//! `schema` is the one place that names every field of a request with its kind, bounds and default;
//! `forms` and `nested` say what values look like; `slash_command` fills in the request's own commands,
//! `mcp` reads `mcpConfig`; `admit` takes the steps. Does not store or start anything, does not judge addresses (`outbound`
//! does) and does not know HTTP beyond naming the status a refusal deserves. Relies on `plugin` for
//! validators.

mod admit;
mod check;
mod forms;
mod json_schema;
mod mcp;
mod nested;
mod operators_prompts;
mod policies;
mod refusal;
mod request;
mod schema;
mod slash_command;

pub use admit::{Admission, Admitted, Draft, Payload, Sender};
pub use json_schema::json_schema;
pub(crate) use operators_prompts::Places as PlacesOfPrompts;
pub use refusal::{CODES, Refusal};
pub(crate) use request::action_key;
pub use request::{ActionOptions, EnvFile, GitAccess, PermissionMode, RepoConfig, Request};
pub(crate) use schema::acceptable;
