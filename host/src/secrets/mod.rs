//! What a setting names by `secret://…` and Secret Manager keeps.
//!
//! `service` reads one version; `settings` fills in what the settings name and looks again while the
//! gateway runs; `text` is for a text that is asked for at each task. Values are nowhere shown; who may read
//! them is decided by Google's roles. Relies on `google` for how often is tried.

#[cfg_attr(not(feature = "gcp"), path = "absent.rs")]
mod service;
mod settings;
mod text;

#[cfg(all(test, feature = "gcp"))]
mod tests;

pub use service::SecretManager;
pub use settings::SecretSettings;
pub use text::SecretText;

/// Why a secret cannot be read, for operators: the secret, what was said, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Somebody saw to it: the version is disabled or destroyed, the secret is gone, or this account may
    /// not read it.
    #[error("{0}")]
    Withdrawn(String),
    /// The service is away, or what the secret holds is of no use.
    #[error("{0}")]
    Failed(String),
}
