//! Tells a webhook of Slack's make how a task ended: one text, put together from a template.
//!
//! Values are cut and escaped; a template can neither break out of the JSON nor make links of values.

#[cfg(target_arch = "wasm32")]
mod component;

mod message;
mod settings;
mod template;

pub use message::{Facts, Message, answered, message};
pub use settings::{Options, SCHEMA, Settings};
