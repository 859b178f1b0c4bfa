//! From a body to an admitted task: schema, defaults, validators in order.
//!
//! Knows the request's fields and what they may hold. Does not store or start anything, and does not
//! know HTTP beyond naming the status a refusal deserves. Relies on `plugin` for validators.

mod admit;
mod request;

use serde_json::Value;

pub use admit::{Admission, Admitted, Draft, Payload};
pub use request::{ActionOptions, PermissionMode, Request};

/// Why a request is not taken. Nothing was stored or started.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// 400 for what the caller wrote, 403 for what policy forbids, 503 where we cannot tell.
    pub status: u16,
    /// Stable, e.g. `unknown-field`; a validator's own code where one rejected.
    pub code: String,
    /// The field at fault by its API name, e.g. `postExecutionActions.git.branch`.
    pub field: Option<String>,
    /// Tells the caller what was expected; holds no value of the request.
    pub message: String,
    /// A validator's further details.
    pub details: Option<Value>,
    /// For the log only.
    pub detail: Option<String>,
}
