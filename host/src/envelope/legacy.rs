//! The Node service's format, opened while migrating and never written:
//! `{"version":"v2-envelope","encryptedDek","iv","authTag","encryptedData"}`, each in base64.
//!
//! AES-256-GCM without additional data: not bound to a task, so whoever can write the bucket can
//! swap messages between tasks. That is why it is off by default.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::format::{NONCE, TAG};
use super::{DataKey, EnvelopeError, Wrapped};

const VERSION: &str = "v2-envelope";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Stored<'a> {
    version: &'a str,
    encrypted_dek: &'a str,
    iv: &'a str,
    auth_tag: &'a str,
    encrypted_data: &'a str,
}

/// A message whose outside is as it should be; nothing of it is authenticated yet.
pub(super) struct Message {
    pub(super) wrapped: Wrapped,
    nonce: [u8; NONCE],
    /// Ciphertext and tag.
    encrypted: Vec<u8>,
}

impl Message {
    pub(super) fn parse(sealed: &[u8]) -> Result<Self, EnvelopeError> {
        const NONE: EnvelopeError = EnvelopeError::Refused("it is of no accepted format");
        let stored: Stored<'_> = serde_json::from_slice(sealed).map_err(|_| NONE)?;
        if stored.version != VERSION {
            return Err(NONE);
        }
        let decode = |text: &str| {
            STANDARD
                .decode(text)
                .map_err(|_| EnvelopeError::Refused("it is no base64"))
        };
        let nonce = <[u8; NONCE]>::try_from(decode(stored.iv)?)
            .map_err(|_| EnvelopeError::Refused("its iv is not of 12 bytes"))?;
        let tag = <[u8; TAG]>::try_from(decode(stored.auth_tag)?)
            .map_err(|_| EnvelopeError::Refused("its tag is not of 16 bytes"))?;
        let mut encrypted = decode(stored.encrypted_data)?;
        encrypted.extend_from_slice(&tag);
        let wrapped = Wrapped {
            kid: String::new(),
            key: decode(stored.encrypted_dek)?,
        };
        Ok(Self {
            wrapped,
            nonce,
            encrypted,
        })
    }

    pub(super) fn open(&self, key: &DataKey) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let key: &[u8; 32] = key;
        let plain = Aes256Gcm::new(key.into())
            .decrypt(&Nonce::from(self.nonce), self.encrypted.as_slice())
            .map_err(|_| EnvelopeError::Refused("it was changed, or sealed with another key"))?;
        Ok(Zeroizing::new(plain))
    }
}
