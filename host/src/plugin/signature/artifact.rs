//! What cosign signs of an artifact of a registry: not its bytes, but a "simple signing" payload that names
//! the digest of its manifest.

use serde::Deserialize;
use serde_json::Value;

/// Bytes of a payload; real ones have about 250.
pub(super) const LONGEST: usize = 64 << 10;

const TYPE: &str = "cosign container image signature";

/// What the signer may have added (`optional`) binds nobody, so it is not read. In `critical` nothing may
/// stand that is not understood: that is what the word means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    #[serde(default, rename = "optional")]
    _optional: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    /// Where the signer pushed it. It may lie elsewhere by now: a mirror is as good, its digest is what
    /// was signed.
    #[serde(default, rename = "identity")]
    _identity: Option<Value>,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Whether the payload is one about the manifest with this digest, `sha256:…`.
pub(super) fn is_about(payload: &[u8], manifest_digest: &str) -> bool {
    payload.len() <= LONGEST
        && serde_json::from_slice::<Payload>(payload).is_ok_and(|Payload { critical, .. }| {
            critical.kind == TYPE && critical.image.digest == manifest_digest
        })
}
