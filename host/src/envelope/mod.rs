//! Sealing and opening: a fresh data key per message, wrapped by a key service, both bound to the
//! purpose and the task. Format v3 (`CCE3`) is written in `format.rs`, the Node service's in
//! `legacy.rs`.
//!
//! The opener takes purpose and task id from its own context, never from the message. Does not know
//! where messages are kept.

#[cfg(feature = "gcp")]
mod cloud_kms;
mod format;
mod legacy;
pub mod local;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::config::{Config, Keys};
use crate::task::TaskId;
use local::LocalKey;

/// A data key.
pub type DataKey = Zeroizing<[u8; 32]>;

/// What a message is for; part of what authenticates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `task-payload`
    TaskPayload,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::TaskPayload => "task-payload",
        }
    }
}

/// A data key as the key service wrapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// Names the key (version) that wrapped it; empty in a message of the Node service, which does
    /// not say.
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
pub trait KeyService: fmt::Debug + Send + Sync {
    /// Wraps a data key, bound to `aad`.
    async fn wrap(&self, key: &DataKey, aad: &[u8]) -> Result<Wrapped, EnvelopeError>;
    /// Unwraps it; the `aad` must be the same.
    async fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<DataKey, EnvelopeError>;
    /// `local` or `cloud-kms`, for `/health`.
    fn kind(&self) -> &'static str;
}

/// The key service that `envelope.keys` names. A local key is made where there is none.
pub async fn keys(config: &Config) -> Result<Arc<dyn KeyService>, EnvelopeError> {
    match config.envelope.keys {
        Keys::Local => {
            let path = &config.envelope.local_key;
            let (key, made) = LocalKey::load_or_create(path)?;
            if made {
                tracing::info!(path = %path.display(), "made a local key: what it sealed is lost without it");
            }
            Ok(Arc::new(key))
        }
        #[cfg(feature = "gcp")]
        Keys::CloudKms => Ok(Arc::new(cloud_kms::CloudKms::new(&config.google).await?)),
        #[cfg(not(feature = "gcp"))]
        Keys::CloudKms => Err(EnvelopeError::KeyService(
            "Cloud KMS needs a build with the feature `gcp`".to_owned(),
        )),
    }
}

/// Seals and opens with one key service.
#[derive(Clone, Debug)]
pub struct Envelope {
    keys: Arc<dyn KeyService>,
    accepts_v2: bool,
    max_size: u64,
}

impl Envelope {
    /// Accepts `v3` and whatever else `settings.accept` names.
    pub fn new(keys: Arc<dyn KeyService>, settings: &crate::config::Envelope) -> Self {
        let accepts_v2 = settings.accept.iter().any(|version| version == "v2");
        Self {
            keys,
            accepts_v2,
            max_size: settings.max_size,
        }
    }

    /// `local` or `cloud-kms`.
    pub fn kind(&self) -> &'static str {
        self.keys.kind()
    }

    /// Seals, always as v3. What could not be opened for its size is not sealed either.
    pub async fn seal(
        &self,
        purpose: Purpose,
        id: &TaskId,
        plain: &[u8],
    ) -> Result<Vec<u8>, EnvelopeError> {
        // Before any work; the exact size is known only afterwards.
        self.check_size(plain.len())?;
        let (key, salt, nonce) = (random()?, random()?, random()?);
        let key = Zeroizing::new(key);
        let wrapped = self.keys.wrap(&key, &format::key_aad(purpose, id)).await?;
        let created = Timestamp::now().as_second();
        let sealed = format::seal(
            purpose,
            id,
            plain,
            &format::Fresh {
                key: &key,
                wrapped: &wrapped,
                salt,
                nonce,
                created,
            },
        )?;
        self.check_size(sealed.len())?;
        Ok(sealed)
    }

    /// Opens what was sealed for this purpose and task.
    pub async fn open(
        &self,
        purpose: Purpose,
        id: &TaskId,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.check_size(sealed.len())?;
        if self.accepts_v2 && !sealed.starts_with(format::MAGIC) {
            let message = legacy::Message::parse(sealed)?;
            let key = self.keys.unwrap(&message.wrapped, b"").await?;
            return message.open(&key);
        }
        let message = format::Message::parse(sealed, purpose, id)?;
        let key = self
            .keys
            .unwrap(&message.wrapped, &format::key_aad(purpose, id))
            .await?;
        message.open(&key)
    }

    fn check_size(&self, size: usize) -> Result<(), EnvelopeError> {
        if size as u64 > self.max_size {
            return Err(EnvelopeError::TooLarge(self.max_size));
        }
        Ok(())
    }
}

/// From the operating system.
fn random<const SIZE: usize>() -> Result<[u8; SIZE], EnvelopeError> {
    let mut bytes = [0; SIZE];
    getrandom::fill(&mut bytes).map_err(|error| {
        EnvelopeError::KeyService(format!("the system has no randomness: {error}"))
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

#[cfg(all(test, feature = "gcp"))]
mod cloud_kms_tests;
