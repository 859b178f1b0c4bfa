//! Who signed a component, and whether that is enough.
//!
//! Signatures are claims until a key of the operator's configuration has made them. `key` reads such keys,
//! `artifact` what cosign signs of an artifact of a registry. What is wanted stands in the configuration and
//! nowhere else. Fetches nothing and keeps nothing; `signed` does.

mod artifact;
mod key;

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use key::PublicKey;

use crate::config::{AnyOf, Signatures};
use crate::wasm::LoadError;
use key::Message;

/// Signatures that are looked at from one place: each costs as many hashes over it as there are keys.
const MOST: usize = 16;
/// Bytes of a file of signatures: as many lines of about a hundred characters, with room.
pub(super) const FILE: u64 = 16 << 10;

/// What cosign stores beside an artifact of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// JSON that names the artifact's manifest; what was signed.
    pub(super) payload: Vec<u8>,
    /// Over the payload's bytes.
    pub(super) signature: Vec<u8>,
}

/// Something that says that it is a signature of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    #[serde(with = "in_base64")]
    signature: Vec<u8>,
    /// Set where the artifact was signed that the component came in; else the component itself was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact: Option<Artifact>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Artifact {
    /// Digest of its manifest, which names the component: `sha256:…`.
    manifest: String,
    #[serde(with = "in_base64")]
    payload: Vec<u8>,
}

/// What was found out about a component.
#[derive(Clone, Debug, Default)]
pub(super) struct Verified {
    /// Names of the keys that signed it, in order, each once.
    pub(super) signed_by: Vec<String>,
    /// The signatures that they made.
    pub(super) claims: Vec<Claim>,
}

impl Claim {
    /// Reads a file of detached signatures: base64, one a line, as `cosign sign-blob` prints it.
    pub(super) fn detached(file: &[u8], shown: &str) -> Result<Vec<Self>, LoadError> {
        let bad = |what: String| {
            LoadError::new(
                "plugin-signature-refused",
                format!(
                    "`{shown}` {what}: expected is base64, one signature a line, as `cosign sign-blob` prints it"
                ),
            )
        };
        let text = std::str::from_utf8(file).map_err(|_| bad("is no text".to_owned()))?;
        let lines = text.lines().map(str::trim).enumerate();
        let claims: Vec<_> = lines
            .filter(|(_, line)| !line.is_empty())
            .map(|(number, line)| {
                let signature = STANDARD
                    .decode(line)
                    .map_err(|_| bad(format!("holds no signature in line {}", number + 1)))?;
                Ok(Self {
                    signature,
                    artifact: None,
                })
            })
            .collect::<Result<_, LoadError>>()?;
        match claims.len() {
            0 => Err(bad("is empty".to_owned())),
            number if number > MOST => Err(bad(format!("holds more than {MOST} signatures"))),
            _ => Ok(claims),
        }
    }

    /// What a registry stores beside the artifact with this manifest.
    pub(super) fn of_artifact(manifest_digest: &str, signed: Vec<Signed>) -> Vec<Self> {
        let claim = |Signed { payload, signature }| Self {
            signature,
            artifact: Some(Artifact {
                manifest: manifest_digest.to_owned(),
                payload,
            }),
        };
        signed.into_iter().map(claim).collect()
    }

    /// The name of the key that made it, for this component.
    fn signer<'a>(&self, policy: &'a Signatures, component: &Message<'_>) -> Option<&'a str> {
        let made_by = |message: &Message<'_>| {
            let mut keys = policy.keys.iter();
            let signer = keys.find(|(_, key)| key.made(&self.signature, message));
            signer.map(|(name, _)| name.as_str())
        };
        match &self.artifact {
            None => made_by(component),
            Some(Artifact { manifest, payload }) if artifact::is_about(payload, manifest) => {
                made_by(&Message {
                    bytes: payload,
                    sha256: &Sha256::digest(payload),
                })
            }
            Some(_) => None,
        }
    }
}

impl Signatures {
    /// Whether a component that nobody signed is refused.
    pub(super) fn are_wanted(&self) -> bool {
        !self.all_of.is_empty() || self.any_of.is_some()
    }

    /// Finds out who signed a component, and refuses one that too few did. Hashing takes as long as the
    /// component is large, so it is done on a thread of its own.
    pub(super) async fn check(
        self: &Arc<Self>,
        component: &Arc<[u8]>,
        claims: Vec<Claim>,
    ) -> Result<Verified, LoadError> {
        let found = claims.len();
        let verified = match found {
            0 => Verified::default(),
            _ => {
                let (policy, component) = (Arc::clone(self), Arc::clone(component));
                let verifying =
                    tokio::task::spawn_blocking(move || policy.verify(&component, claims));
                verifying.await.map_err(|_| {
                    LoadError::new("plugin-signature-refused", "verifying it broke off")
                })?
            }
        };
        self.require(&verified.signed_by, found)?;
        Ok(verified)
    }

    fn verify(&self, component: &[u8], claims: Vec<Claim>) -> Verified {
        let message = Message {
            bytes: component,
            sha256: &Sha256::digest(component),
        };
        let mut signers = BTreeSet::new();
        let mut made = Vec::new();
        // Those that were kept, and those that were found.
        for claim in claims.into_iter().take(2 * MOST) {
            // A second signature by the same key says nothing more.
            let signer = claim.signer(self, &message);
            if signer.is_some_and(|signer| signers.insert(signer.to_owned())) {
                made.push(claim);
            }
        }
        Verified {
            signed_by: signers.into_iter().collect(),
            claims: made,
        }
    }

    fn require(&self, signed_by: &[String], found: usize) -> Result<(), LoadError> {
        let has_signed = |name: &&String| signed_by.contains(name);
        let is_enough = |AnyOf { minimum, keys }: &AnyOf| {
            keys.iter().filter(has_signed).count() >= *minimum as usize
        };
        if self.all_of.iter().all(|name| has_signed(&name))
            && self.any_of.as_ref().is_none_or(is_enough)
        {
            return Ok(());
        }
        let wanted = self.wanted();
        Err(match (found, signed_by) {
            (0, _) => LoadError::new(
                "plugin-unsigned",
                format!("nobody signed the component; wanted is {wanted}"),
            ),
            (found, []) => LoadError::new(
                "plugin-signature-refused",
                format!(
                    "none of the {found} signatures of the component was made by a known key; wanted is \
                     {wanted}"
                ),
            ),
            (_, names) => LoadError::new(
                "plugin-signature-refused",
                format!(
                    "the component is signed by {}; wanted is {wanted}",
                    names.join(", ")
                ),
            ),
        })
    }

    /// E.g. `release, and 2 of alice, bob, carol (plugins.signatures)`.
    fn wanted(&self) -> String {
        let all = (!self.all_of.is_empty()).then(|| self.all_of.join(", "));
        let any = self
            .any_of
            .as_ref()
            .map(|AnyOf { minimum, keys }| format!("{minimum} of {}", keys.join(", ")));
        let wanted: Vec<_> = all.into_iter().chain(any).collect();
        format!("{} (plugins.signatures)", wanted.join(", and "))
    }
}

/// The signatures of a component, as they are kept beside it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) signatures: Vec<Claim>,
}

impl Kept {
    /// Adds what is new, before what was there; false where nothing is. The oldest go.
    pub(super) fn add(&mut self, claims: &[Claim]) -> bool {
        let is_new = |claim: &&Claim| !self.signatures.contains(claim);
        let new: Vec<_> = claims.iter().filter(is_new).cloned().collect();
        let is_news = !new.is_empty();
        self.signatures.splice(0..0, new);
        self.signatures.truncate(MOST);
        is_news
    }
}

mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
