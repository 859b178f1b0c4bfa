//! In builds without Google's services, where the settings name no secret of theirs: they would be refused.

use secrecy::SecretString;

use super::Unreadable;
use crate::config::{Google, SecretName};

/// Reads nothing.
#[derive(Clone, Debug)]
pub struct SecretManager;

impl SecretManager {
    /// Needs nothing.
    pub fn new(_google: &Google) -> Self {
        Self
    }

    /// Fails.
    pub async fn read(&self, name: &SecretName) -> Result<SecretString, Unreadable> {
        let words = format!("{name}: Secret Manager needs a build with the feature `gcp`");
        Err(Unreadable::Failed(words))
    }
}
