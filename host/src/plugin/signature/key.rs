//! Public keys: what may be one, and whether it made a signature.

use ed25519_dalek::VerifyingKey as Ed25519Key;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{DerSignature, VerifyingKey as P256Key};
use p256::pkcs8::{Document, ObjectIdentifier, SubjectPublicKeyInfoRef};

/// `id-ecPublicKey`, whatever the curve.
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A key that may sign components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// ECDSA on P-256 with SHA-256: what cosign makes. A signature is DER.
    P256(P256Key),
    /// Over the message itself, not over a hash of it. A signature is 64 bytes.
    Ed25519(Ed25519Key),
}

/// What was signed. The hash is made once, however many signatures are looked at.
pub(super) struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) sha256: &'a [u8],
}

impl PublicKey {
    /// Reads one PEM block as `openssl pkey -pubout` and `cosign generate-key-pair` write it.
    ///
    /// # Errors
    /// What was expected; never a part of the text, which may be the private key by mistake.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let (label, document) = Document::from_pem(text.trim())
            .map_err(|_| "is not one PEM block of a public key".to_owned())?;
        if label != "PUBLIC KEY" {
            return Err(match label.contains("PRIVATE") {
                true => "is a private key, which has no place in a gateway: name the public one (`openssl \
                         pkey -pubout`)"
                    .to_owned(),
                false => format!(
                    "begins with `-----BEGIN {}-----`: expected is `-----BEGIN PUBLIC KEY-----`",
                    label.escape_debug()
                ),
            });
        }
        let info = SubjectPublicKeyInfoRef::try_from(document.as_bytes())
            .map_err(|_| "holds no public key (SubjectPublicKeyInfo)".to_owned())?;
        match info.algorithm.oid {
            ELLIPTIC_CURVE => P256Key::try_from(info)
                .map(Self::P256)
                .map_err(|_| "is no point of P-256, the only curve that is taken".to_owned()),
            ED25519 => {
                let key = Ed25519Key::try_from(info)
                    .map_err(|_| "is no Ed25519 public key".to_owned())?;
                if key.is_weak() || !is_canonical(key.as_bytes()) {
                    return Err("is a weak Ed25519 key: anybody could sign for it".to_owned());
                }
                Ok(Self::Ed25519(key))
            }
            other => Err(format!(
                "is a key of another kind ({other}): ECDSA P-256 and Ed25519 are taken"
            )),
        }
    }

    /// Whether `signature` is this key's over the message.
    pub(super) fn made(&self, signature: &[u8], message: &Message<'_>) -> bool {
        match self {
            Self::P256(key) => DerSignature::from_bytes(signature)
                .is_ok_and(|signature| key.verify_prehash(message.sha256, &signature).is_ok()),
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message.bytes, &signature).is_ok()),
        }
    }
}

/// Whether the y-coordinate is below the field's prime, 2^255 - 19: each point is written in one way only,
/// so that one key cannot pass for two.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = bytes;
    let is_above =
        *lowest >= 0xed && middle.iter().all(|byte| *byte == 0xff) && highest & 0x7f == 0x7f;
    !is_above
}
