//! A key of Cloud KMS, which nobody ever holds: data keys go there and come back, each with a checksum in
//! both directions.
//!
//! The service wraps with the key's primary version and says which one that was; it opens what any
//! enabled version wrapped, so the key can be rotated at any time. Encrypting and decrypting may be done
//! twice, so what fails for a reason that passes is tried again.

use async_trait::async_trait;
use bytes::Bytes;
use google_cloud_gax::error::rpc::Code;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::{DecryptResponse, EncryptResponse};
use zeroize::{Zeroize, Zeroizing};

use super::{DataKey, EnvelopeError, KeyService, Wrapped};
use crate::config::Google;
use crate::google::{Failure, insist, placed, tried_once};

/// A request that is refused as invalid is made so many times more.
const AGAIN: u32 = 2;

/// The key that `[google]` names.
#[derive(Debug)]
pub(super) struct CloudKms {
    client: KeyManagementService,
    /// `projects/…/locations/…/keyRings/…/cryptoKeys/…`
    key: String,
}

impl CloudKms {
    /// Asks nothing of the service yet.
    pub(super) async fn new(google: &Google) -> Result<Self, EnvelopeError> {
        let client = tried_once(placed(KeyManagementService::builder(), google))
            .build()
            .await
            .map_err(|error| EnvelopeError::KeyService(format!("Cloud KMS: {error}")))?;
        let location = match google.kms_location.as_str() {
            "" => &google.region,
            location => location,
        };
        let key = format!(
            "projects/{}/locations/{location}/keyRings/{}/cryptoKeys/{}",
            google.project_id, google.kms_key_ring, google.kms_key_name
        );
        Ok(Self { client, key })
    }

    /// Whether this names a version of our key.
    fn is_ours(&self, kid: &str) -> bool {
        kid.strip_prefix(&self.key)
            .and_then(|rest| rest.strip_prefix("/cryptoKeyVersions/"))
            .is_some_and(|version| {
                !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
            })
    }

    async fn encrypt(&self, key: &DataKey, aad: &[u8]) -> Result<EncryptResponse, Failure> {
        let reply = self
            .client
            .encrypt()
            .set_name(&self.key)
            // Wiped when the client has sent it.
            .set_plaintext(Bytes::from_owner(key.clone()))
            .set_plaintext_crc32c(checksum(key.as_slice()))
            .set_additional_authenticated_data(aad.to_vec())
            .set_additional_authenticated_data_crc32c(checksum(aad))
            .send()
            .await?;
        if !(reply.verified_plaintext_crc32c && reply.verified_additional_authenticated_data_crc32c)
        {
            return Err(Failure::passing(
                "the data key was damaged on its way there",
            ));
        }
        if reply.ciphertext_crc32c != Some(checksum(&reply.ciphertext)) {
            return Err(Failure::passing(
                "the wrapped key was damaged on its way back",
            ));
        }
        if !self.is_ours(&reply.name) {
            let words = format!("it wrapped with another key: {}", reply.name);
            return Err(Failure::Refused(Code::Unknown, words));
        }
        Ok(reply)
    }

    async fn decrypt(&self, wrapped: &[u8], aad: &[u8]) -> Result<DecryptResponse, Failure> {
        let reply = self
            .client
            .decrypt()
            .set_name(&self.key)
            .set_ciphertext(wrapped.to_vec())
            .set_ciphertext_crc32c(checksum(wrapped))
            .set_additional_authenticated_data(aad.to_vec())
            .set_additional_authenticated_data_crc32c(checksum(aad))
            .send()
            .await?;
        if reply.plaintext_crc32c != Some(checksum(&reply.plaintext)) {
            return Err(Failure::passing("the data key was damaged on its way back"));
        }
        Ok(reply)
    }

    /// With what an operator can do about it; the caller is told nothing of this.
    fn failed(&self, failure: &Failure, role: &str) -> EnvelopeError {
        let advice = match failure {
            Failure::Refused(Code::PermissionDenied | Code::Unauthenticated, _) => {
                format!("; grant roles/{role} on the key to the account of this service")
            }
            Failure::Refused(Code::NotFound, _) => {
                "; see whether google.project_id, kms_location, kms_key_ring and kms_key_name name it"
                    .to_owned()
            }
            Failure::Refused(Code::FailedPrecondition, _) => {
                "; enable that version, or for new tasks make another one the primary".to_owned()
            }
            _ => String::new(),
        };
        EnvelopeError::KeyService(format!("Cloud KMS, {}: {failure}{advice}", self.key))
    }
}

#[async_trait]
impl KeyService for CloudKms {
    async fn wrap(&self, key: &DataKey, aad: &[u8]) -> Result<Wrapped, EnvelopeError> {
        let reply = undamaged(|| self.encrypt(key, aad))
            .await
            .map_err(|failure| self.failed(&failure, "cloudkms.cryptoKeyEncrypter"))?;
        Ok(Wrapped {
            kid: reply.name,
            key: reply.ciphertext.to_vec(),
        })
    }

    async fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<DataKey, EnvelopeError> {
        // Only the Node service named no key, and it bound its keys to nothing.
        let may_be_ours = match wrapped.kid.as_str() {
            "" => aad.is_empty(),
            kid => self.is_ours(kid),
        };
        if !may_be_ours {
            return Err(EnvelopeError::Refused("another key wrapped its data key"));
        }
        let reply = match undamaged(|| self.decrypt(&wrapped.key, aad)).await {
            Ok(reply) => reply,
            Err(Failure::Refused(Code::InvalidArgument, words)) => {
                tracing::warn!(words, "Cloud KMS does not unwrap a data key");
                return Err(EnvelopeError::Refused(
                    "its data key was changed, or wrapped for another task",
                ));
            }
            Err(failure) => return Err(self.failed(&failure, "cloudkms.cryptoKeyDecrypter")),
        };
        let key = <[u8; 32]>::try_from(reply.plaintext.as_ref()).map(Zeroizing::new);
        if let Ok(mut plaintext) = reply.plaintext.try_into_mut() {
            plaintext.zeroize();
        }
        key.map_err(|_| EnvelopeError::Refused("its data key is not of 32 bytes"))
    }

    fn kind(&self) -> &'static str {
        "cloud-kms"
    }
}

/// Calls as [`insist`] does. A request that was damaged on its way is refused just as one that was wrong, so
/// it is made again before that counts.
async fn undamaged<T, F: Future<Output = Result<T, Failure>>>(
    call: impl Fn() -> F,
) -> Result<T, Failure> {
    let mut again = AGAIN;
    loop {
        match insist(&call).await {
            Err(Failure::Refused(Code::InvalidArgument, words)) if again > 0 => {
                tracing::debug!(words, "Cloud KMS takes a request for invalid; trying again");
                again -= 1;
            }
            done => return done,
        }
    }
}

/// CRC32C as the service has it.
fn checksum(bytes: &[u8]) -> i64 {
    i64::from(crc32c::crc32c(bytes))
}
