//! Format v3.
//!
//! ```text
//!  0   4  "CCE3"
//!  4   1  suite 1: AES-256-GCM in one shot, HKDF-SHA256, key commitment
//!  5   1  flags 0
//!  6   2  length n of the header, big-endian, at most 4096
//!  8   n  header, JSON with its fields in this order and no space between them:
//!         {"aad":{"purpose":"task-payload","taskId":"…"},"kid":"…","salt":"…","wdek":"…","created":…}
//!         kid      names the key that wrapped the data key
//!         salt     32 random bytes, base64
//!         wdek     the wrapped data key, base64
//!         created  seconds since 1970
//! ..  32  commitment: HKDF(data key, salt, "cce3 commit"); checked first, in constant time
//! ..  12  nonce, random
//! ..   m  ciphertext and its tag of 16 bytes; key: HKDF(data key, salt, "cce3 enc"),
//!         additional data: every byte before the nonce
//! ..   4  CRC32C of every byte before it, big-endian; tells damage in storage from an attack,
//!         and is no security
//! ```
//!
//! The data key is wrapped with `cce3|{purpose}|{task id}` as its additional data.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{DataKey, EnvelopeError, Purpose, Wrapped};
use crate::task::TaskId;

pub(super) const MAGIC: &[u8] = b"CCE3";
const SUITE: u8 = 1;
const FLAGS: u8 = 0;
const HEADER_LIMIT: usize = 4096;
const SALT: usize = 32;
const COMMITMENT: usize = 32;
pub(super) const NONCE: usize = 12;
pub(super) const TAG: usize = 16;
const CHECKSUM: usize = 4;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    aad: Context,
    kid: String,
    salt: String,
    wdek: String,
    created: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Context {
    purpose: String,
    task_id: String,
}

/// What is made anew for each message.
pub(super) struct Fresh<'a> {
    pub(super) key: &'a DataKey,
    pub(super) wrapped: &'a Wrapped,
    pub(super) salt: [u8; SALT],
    pub(super) nonce: [u8; NONCE],
    pub(super) created: i64,
}

/// What the wrapping of a data key is bound to.
pub(super) fn key_aad(purpose: Purpose, id: &TaskId) -> Vec<u8> {
    format!("cce3|{}|{id}", purpose.as_str()).into_bytes()
}

pub(super) fn seal(
    purpose: Purpose,
    id: &TaskId,
    plain: &[u8],
    fresh: &Fresh<'_>,
) -> Result<Vec<u8>, EnvelopeError> {
    let header = Header {
        aad: Context {
            purpose: purpose.as_str().to_owned(),
            task_id: id.to_string(),
        },
        kid: fresh.wrapped.kid.clone(),
        salt: STANDARD.encode(fresh.salt),
        wdek: STANDARD.encode(&fresh.wrapped.key),
        created: fresh.created,
    };
    let header = serde_json::to_vec(&header)
        .map_err(|_| EnvelopeError::Refused("its header cannot be written"))?;
    let header_length = u16::try_from(header.len())
        .ok()
        .filter(|length| usize::from(*length) <= HEADER_LIMIT)
        .ok_or(EnvelopeError::Refused(
            "the wrapped key is too long for the header",
        ))?;
    let keys = Keys::derive(fresh.key, &fresh.salt)?;

    let size = MAGIC.len() + 4 + header.len() + COMMITMENT + NONCE + plain.len() + TAG + CHECKSUM;
    let mut sealed = Vec::with_capacity(size);
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&[SUITE, FLAGS]);
    sealed.extend_from_slice(&header_length.to_be_bytes());
    sealed.extend_from_slice(&header);
    sealed.extend_from_slice(&keys.commitment);
    let payload = Payload {
        msg: plain,
        aad: &sealed,
    };
    let encrypted = keys
        .cipher()
        .encrypt(&Nonce::from(fresh.nonce), payload)
        .map_err(|_| EnvelopeError::Refused("it is too long for its cipher"))?;
    sealed.extend_from_slice(&fresh.nonce);
    sealed.extend_from_slice(&encrypted);
    let checksum = crc32c::crc32c(&sealed);
    sealed.extend_from_slice(&checksum.to_be_bytes());
    Ok(sealed)
}

/// A message whose outside is as it should be; nothing of it is authenticated yet.
pub(super) struct Message<'a> {
    pub(super) wrapped: Wrapped,
    salt: Vec<u8>,
    commitment: &'a [u8],
    nonce: [u8; NONCE],
    encrypted: &'a [u8],
    /// Everything before the nonce.
    aad: &'a [u8],
}

impl<'a> Message<'a> {
    pub(super) fn parse(
        sealed: &'a [u8],
        purpose: Purpose,
        id: &TaskId,
    ) -> Result<Self, EnvelopeError> {
        const SHORT: EnvelopeError = EnvelopeError::Refused("it is cut short");
        let fixed = sealed
            .strip_prefix(MAGIC)
            .ok_or(EnvelopeError::Refused("it is of no accepted format"))?;
        let (&[suite, flags, high, low], _) = fixed.split_first_chunk().ok_or(SHORT)?;
        if (suite, flags) != (SUITE, FLAGS) {
            return Err(EnvelopeError::Refused("its suite is not known"));
        }
        let (checked, checksum) = sealed.split_last_chunk::<CHECKSUM>().ok_or(SHORT)?;
        if crc32c::crc32c(checked) != u32::from_be_bytes(*checksum) {
            return Err(EnvelopeError::Refused("it was damaged, or is cut short"));
        }

        let header_length = usize::from(u16::from_be_bytes([high, low]));
        if header_length > HEADER_LIMIT {
            return Err(EnvelopeError::Refused("its header is too long"));
        }
        let header_end = MAGIC.len() + 4 + header_length;
        let (aad, inside) = checked
            .split_at_checked(header_end + COMMITMENT)
            .ok_or(SHORT)?;
        let (start, commitment) = aad.split_at_checked(header_end).ok_or(SHORT)?;
        let header = start.get(MAGIC.len() + 4..).ok_or(SHORT)?;
        let (nonce, encrypted) = inside.split_first_chunk::<NONCE>().ok_or(SHORT)?;
        if encrypted.len() < TAG {
            return Err(SHORT);
        }

        let header: Header = serde_json::from_slice(header)
            .map_err(|_| EnvelopeError::Refused("its header cannot be read"))?;
        if header.aad.purpose != purpose.as_str() || header.aad.task_id != id.as_str() {
            return Err(EnvelopeError::Refused("it belongs to something else"));
        }
        let decode = |text: &str| {
            STANDARD
                .decode(text)
                .map_err(|_| EnvelopeError::Refused("its header cannot be read"))
        };
        let salt = decode(&header.salt)?;
        if salt.len() != SALT {
            return Err(EnvelopeError::Refused("its header cannot be read"));
        }
        let wrapped = Wrapped {
            key: decode(&header.wdek)?,
            kid: header.kid,
        };
        Ok(Self {
            wrapped,
            salt,
            commitment,
            nonce: *nonce,
            encrypted,
            aad,
        })
    }

    pub(super) fn open(&self, key: &DataKey) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        const FORGED: EnvelopeError =
            EnvelopeError::Refused("it was changed, or sealed with another key");
        let keys = Keys::derive(key, &self.salt)?;
        if !bool::from(keys.commitment.ct_eq(self.commitment)) {
            return Err(FORGED);
        }
        let payload = Payload {
            msg: self.encrypted,
            aad: self.aad,
        };
        let plain = keys
            .cipher()
            .decrypt(&Nonce::from(self.nonce), payload)
            .map_err(|_| FORGED)?;
        Ok(Zeroizing::new(plain))
    }
}

/// What is derived from a data key.
struct Keys {
    encryption: Zeroizing<[u8; 32]>,
    commitment: [u8; COMMITMENT],
}

impl Keys {
    fn derive(key: &DataKey, salt: &[u8]) -> Result<Self, EnvelopeError> {
        let derive = Hkdf::<Sha256>::new(Some(salt), key.as_slice());
        let mut keys = Self {
            encryption: Zeroizing::new([0; 32]),
            commitment: [0; COMMITMENT],
        };
        derive
            .expand(b"cce3 enc", keys.encryption.as_mut_slice())
            .and_then(|()| derive.expand(b"cce3 commit", &mut keys.commitment))
            .map_err(|_| EnvelopeError::Refused("its keys cannot be derived"))?;
        Ok(keys)
    }

    fn cipher(&self) -> Aes256Gcm {
        let key: &[u8; 32] = &self.encryption;
        Aes256Gcm::new(key.into())
    }
}
