//! Cloud KMS: one symmetric key per name, with versions. AES-256-GCM for real, so that a changed byte or
//! other additional data is noticed as there. A key is made, with version 1, when it is first asked for.
//!
//! Ciphertext: the version in four bytes, a nonce of twelve, what AES-GCM gives.

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::reply::{self, Body, Code};
use crate::server::{Call, Shared};

const NONCE: usize = 12;
/// Of a key, in bytes.
const LARGEST_PLAINTEXT: usize = 64 * 1024;

/// What a version of a key, or of a secret, can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Everything.
    Enabled,
    /// Nothing, until it is enabled again.
    Disabled,
    /// Nothing any more.
    Destroyed,
}

impl VersionState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::Destroyed => "DESTROYED",
        }
    }
}

/// The states of a key's versions, from version 1; the last one is the primary.
type Versions = Vec<VersionState>;

#[derive(Debug, Default)]
pub(crate) struct Keys {
    versions: BTreeMap<String, Versions>,
    nonces: u64,
}

impl Keys {
    fn versions(&mut self, key: &str) -> &mut Versions {
        self.versions
            .entry(key.to_owned())
            .or_insert_with(|| vec![VersionState::Enabled])
    }

    /// Its number.
    pub(crate) fn rotate(&mut self, key: &str) -> usize {
        let versions = self.versions(key);
        versions.push(VersionState::Enabled);
        versions.len()
    }

    pub(crate) fn set(&mut self, key: &str, version: usize, state: VersionState) {
        let versions = self.versions(key);
        if let Some(place) = version.checked_sub(1).and_then(|n| versions.get_mut(n)) {
            *place = state;
        }
    }

    fn nonce(&mut self) -> [u8; NONCE] {
        self.nonces += 1;
        let mut nonce = [0; NONCE];
        nonce[4..].copy_from_slice(&self.nonces.to_be_bytes());
        nonce
    }
}

/// The name of the key and the method behind the colon.
fn target(call: &Call) -> Option<(&str, &str)> {
    let (key, method) = call.path().strip_prefix("/v1/")?.rsplit_once(':')?;
    let parts: Vec<&str> = key.split('/').collect();
    let kinds = parts.iter().step_by(2).copied();
    let is_key = parts.len() == 8
        && kinds.eq(["projects", "locations", "keyRings", "cryptoKeys"])
        && parts.iter().all(|part| !part.is_empty());
    is_key.then_some((key, method))
}

/// What a call is to KMS.
pub(crate) fn operation(call: &Call) -> Option<&'static str> {
    match (call.method.as_str(), target(call)?.1) {
        ("POST", "encrypt") => Some("kms.encrypt"),
        ("POST", "decrypt") => Some("kms.decrypt"),
        _ => None,
    }
}

/// Carries it out.
pub(crate) fn answer(shared: &Shared, operation: &str, call: &Call) -> Response<Body> {
    let done = match (target(call), serde_json::from_slice(&call.body)) {
        (Some((key, _)), Ok(body)) if operation == "kms.encrypt" => encrypt(shared, key, &body),
        (Some((key, _)), Ok(body)) => decrypt(shared, key, &body),
        _ => Err(invalid("Invalid JSON payload received.")),
    };
    match done {
        Ok(value) => reply::json(&value),
        Err(refusal) => refusal,
    }
}

type Done = Result<Value, Response<Body>>;

fn invalid(message: &str) -> Response<Body> {
    reply::error(Code::InvalidArgument, message)
}

fn encrypt(shared: &Shared, key: &str, body: &Value) -> Done {
    let plain = field(body, "plaintext", "plaintextCrc32c")?;
    let aad = field(
        body,
        "additionalAuthenticatedData",
        "additionalAuthenticatedDataCrc32c",
    )?;
    if plain.len() > LARGEST_PLAINTEXT {
        return Err(invalid("The plaintext is too large."));
    }
    let mut keys = shared.keys();
    let version = keys.versions(key).len();
    enabled(&mut keys, key, version)?;
    let nonce = keys.nonce();
    let payload = Payload {
        msg: &plain,
        aad: &aad,
    };
    let encrypted = cipher(key, version)
        .encrypt(&Nonce::from(nonce), payload)
        .map_err(|_| invalid("Encryption failed."))?;
    let number = u32::try_from(version).unwrap_or(u32::MAX).to_be_bytes();
    let ciphertext = [number.as_slice(), &nonce, &encrypted].concat();
    let given = |name: &str| body.get(name).is_some();
    Ok(json!({
        "name": format!("{key}/cryptoKeyVersions/{version}"),
        "ciphertext": STANDARD.encode(&ciphertext),
        "ciphertextCrc32c": crc32c::crc32c(&ciphertext).to_string(),
        "verifiedPlaintextCrc32c": given("plaintextCrc32c"),
        "verifiedAdditionalAuthenticatedDataCrc32c": given("additionalAuthenticatedDataCrc32c"),
        "protectionLevel": 1,
    }))
}

fn decrypt(shared: &Shared, key: &str, body: &Value) -> Done {
    const WRONG: &str = "Decryption failed: the ciphertext is invalid.";
    let ciphertext = field(body, "ciphertext", "ciphertextCrc32c")?;
    let aad = field(
        body,
        "additionalAuthenticatedData",
        "additionalAuthenticatedDataCrc32c",
    )?;
    let (number, rest) = ciphertext
        .split_first_chunk::<4>()
        .ok_or_else(|| invalid(WRONG))?;
    let (nonce, encrypted) = rest
        .split_first_chunk::<NONCE>()
        .ok_or_else(|| invalid(WRONG))?;
    let version = u32::from_be_bytes(*number) as usize;
    let mut keys = shared.keys();
    let newest = keys.versions(key).len();
    if !(1..=newest).contains(&version) {
        return Err(invalid(WRONG));
    }
    enabled(&mut keys, key, version)?;
    let payload = Payload {
        msg: encrypted,
        aad: &aad,
    };
    let plain = cipher(key, version)
        .decrypt(&Nonce::from(*nonce), payload)
        .map_err(|_| invalid(WRONG))?;
    Ok(json!({
        "plaintext": STANDARD.encode(&plain),
        "plaintextCrc32c": crc32c::crc32c(&plain).to_string(),
        "usedPrimary": version == newest,
        "protectionLevel": 1,
    }))
}

fn enabled(keys: &mut Keys, key: &str, version: usize) -> Result<(), Response<Body>> {
    let state = version
        .checked_sub(1)
        .and_then(|n| keys.versions(key).get(n).copied());
    match state {
        Some(VersionState::Enabled) => Ok(()),
        other => Err(reply::precondition(&format!(
            "{key}/cryptoKeyVersions/{version} is not enabled, current state is: {}.",
            other.map_or("UNKNOWN", VersionState::name)
        ))),
    }
}

/// Different for each key and version.
fn cipher(key: &str, version: usize) -> Aes256Gcm {
    let mut secret = [0; 32];
    let seed = crc32c::crc32c(format!("{key}/{version}").as_bytes()).to_be_bytes();
    for (byte, seed) in secret.iter_mut().zip(seed.iter().cycle()) {
        *byte = *seed;
    }
    Aes256Gcm::new(&secret.into())
}

/// Bytes in base64, checked against their checksum where it was sent, which is a number as text.
fn field(body: &Value, name: &str, checksum: &str) -> Result<Vec<u8>, Response<Body>> {
    let text = match body.get(name) {
        None => "",
        Some(value) => value
            .as_str()
            .ok_or_else(|| invalid(&format!("Invalid value at '{name}'.")))?,
    };
    let bytes = STANDARD.decode(text).map_err(|_| {
        invalid(&format!(
            "Invalid value at '{name}': Base64 decoding failed."
        ))
    })?;
    let expected = crc32c::crc32c(&bytes).to_string();
    match body.get(checksum) {
        Some(sent) if sent.as_str() != Some(&expected) => Err(invalid(&format!(
            "The checksum in field {checksum} did not match the data in field {name}."
        ))),
        _ => Ok(bytes),
    }
}
