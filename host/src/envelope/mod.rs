//! Sealing and opening: a fresh data key per message, wrapped by a key service, both bound to the
//! purpose and the task. Format v3 (`CCE3`) is written in `format.rs`.
//!
//! The opener takes purpose and task id from its own context, never from the message. Does not know
//! where messages are kept.

pub mod local;

use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::task::TaskId;

/// A data key.
pub type DataKey = Zeroizing<[u8; 32]>;

/// What a message is for; part of what authenticates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `task-payload`
    TaskPayload,
}

/// A data key as the key service wrapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// Names the key (version) that wrapped it.
    pub kid: String,
    /// Opaque.
    pub key: Vec<u8>,
}

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// It is no message of an accepted format, or was changed, or belongs to another task.
    #[error("the sealed payload cannot be opened: {0}")]
    Refused(&'static str),
    /// Too large to be sealed or opened.
    #[error("the payload is larger than {0} bytes")]
    TooLarge(u64),
    /// The key service could not do it now; it may later.
    #[error("the key service failed: {0}")]
    KeyService(String),
}

/// Wraps data keys: a local key, or Cloud KMS.
#[async_trait]
pub trait KeyService: std::fmt::Debug + Send + Sync {
    /// Wraps a data key, bound to `aad`.
    async fn wrap(&self, key: &DataKey, aad: &[u8]) -> Result<Wrapped, EnvelopeError>;
    /// Unwraps it; the `aad` must be the same.
    async fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<DataKey, EnvelopeError>;
    /// `local` or `cloud-kms`, for `/health`.
    fn kind(&self) -> &'static str;
}

/// Seals and opens with one key service.
#[derive(Clone, Debug)]
pub struct Envelope {}

impl Envelope {
    /// Accepts `v3` and whatever else `settings.accept` names.
    pub fn new(_keys: Arc<dyn KeyService>, _settings: &crate::config::Envelope) -> Self {
        unimplemented!()
    }

    /// `local` or `cloud-kms`.
    pub fn kind(&self) -> &'static str {
        unimplemented!()
    }

    /// Seals, always as v3.
    pub async fn seal(&self, _purpose: Purpose, _id: &TaskId, _plain: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        unimplemented!()
    }

    /// Opens what was sealed for this purpose and task.
    pub async fn open(&self, _purpose: Purpose, _id: &TaskId, _sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        unimplemented!()
    }
}
