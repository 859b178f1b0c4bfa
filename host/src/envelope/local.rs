//! The key of one machine, in a file that only the service can read.

use std::path::Path;

use async_trait::async_trait;

use super::{DataKey, EnvelopeError, KeyService, Wrapped};

/// A 32-byte key; `kid` is `local:{first 16 hex of its SHA-256}`.
pub struct LocalKey {}

impl LocalKey {
    /// Reads the key; makes it once, with mode 0600, where the file is absent. `true`: it was made.
    /// A file that others can read is refused.
    pub fn load_or_create(_path: &Path) -> Result<(Self, bool), EnvelopeError> {
        unimplemented!()
    }
}

impl std::fmt::Debug for LocalKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LocalKey")
    }
}

#[async_trait]
impl KeyService for LocalKey {
    async fn wrap(&self, _key: &DataKey, _aad: &[u8]) -> Result<Wrapped, EnvelopeError> {
        unimplemented!()
    }
    async fn unwrap(&self, _wrapped: &Wrapped, _aad: &[u8]) -> Result<DataKey, EnvelopeError> {
        unimplemented!()
    }
    fn kind(&self) -> &'static str {
        "local"
    }
}
