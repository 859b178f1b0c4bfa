//! Both families of headers over the same bytes.
//!
//! Receivers that callers have today read `X-Webhook-Signature` and `X-Webhook-Timestamp`; new ones
//! read the three headers of Standard Webhooks, which also name the message and allow two secrets.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Marks a secret whose key is the base64 after it, as Standard Webhooks has it.
const BASE64_SECRET: &str = "whsec_";

/// A shorter secret is used, and warned of.
const SHORT_SECRET: usize = 24;

/// The name that receivers of the service before this one may look for, and then ours.
pub const USER_AGENT: &str = concat!(
    "cloudrun-claude-code/async-task gatehouse/",
    env!("CARGO_PKG_VERSION")
);

type Keyed = Hmac<Sha256>;

/// Signs with one or more secrets.
#[derive(Clone)]
pub struct Signer {
    legacy: Keyed,
    standard: Vec<Keyed>,
}

impl Signer {
    /// The first secret signs in both families, all of them in the standard one. None where there is
    /// no secret: nothing may leave unsigned.
    pub fn new(secrets: &[SecretString]) -> Option<Self> {
        if secrets
            .iter()
            .any(|secret| secret.expose_secret().len() < SHORT_SECRET)
        {
            tracing::warn!("a webhook secret is shorter than {SHORT_SECRET} bytes");
        }
        let legacy = keyed(secrets.first()?.expose_secret().as_bytes())?;
        let standard = secrets
            .iter()
            .map(|secret| keyed(&standard_key(secret)))
            .collect::<Option<_>>()?;
        Some(Self { legacy, standard })
    }

    /// The headers of one attempt: `id` is the message's, the same at every attempt; `at` is now, in
    /// Unix seconds; `body` is what is sent, to the byte.
    pub fn headers(&self, id: &str, at: i64, body: &[u8]) -> Vec<(&'static str, String)> {
        let at = at.to_string();
        let legacy = sign(&self.legacy, &[at.as_bytes(), body]);
        let standard: Vec<String> = self
            .standard
            .iter()
            .map(|key| {
                format!(
                    "v1,{}",
                    STANDARD.encode(sign(key, &[id.as_bytes(), at.as_bytes(), body]))
                )
            })
            .collect();
        vec![
            (
                "x-webhook-signature",
                format!("sha256={}", hex::encode(legacy)),
            ),
            ("x-webhook-timestamp", at.clone()),
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at),
            ("webhook-signature", standard.join(" ")),
        ]
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signer({} secrets)", self.standard.len())
    }
}

/// None for no key length: HMAC takes every one.
fn keyed(key: &[u8]) -> Option<Keyed> {
    Keyed::new_from_slice(key).ok()
}

/// The key of a `whsec_` secret is what its base64 stands for; any other secret is its own key.
fn standard_key(secret: &SecretString) -> Vec<u8> {
    let text = secret.expose_secret();
    text.strip_prefix(BASE64_SECRET)
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .unwrap_or_else(|| text.as_bytes().to_vec())
}

/// HMAC over the parts with a dot between.
fn sign(key: &Keyed, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = key.clone();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            mac.update(b".");
        }
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    fn headers_of(
        secrets: &[&str],
        id: &str,
        at: i64,
        body: &[u8],
    ) -> std::collections::BTreeMap<&'static str, String> {
        let secrets: Vec<SecretString> = secrets
            .iter()
            .map(|secret| SecretString::from(*secret))
            .collect();
        Signer::new(&secrets)
            .unwrap()
            .headers(id, at, body)
            .into_iter()
            .collect()
    }

    #[test]
    fn the_legacy_signature_is_the_one_that_node_computes() {
        // A test of the MAC alone: a canonical body would hold U+2028 itself.
        let body =
            "{\"taskId\":\"t1\",\"status\":\"completed\",\"exitCode\":0,\"error\":\"é\\u2028\"}";
        let headers = headers_of(
            &["0123456789abcdef0123456789abcdef"],
            "msg_t1_completed",
            1_700_000_000,
            body.as_bytes(),
        );
        assert_eq!(headers["x-webhook-timestamp"], "1700000000");
        assert_eq!(
            headers["x-webhook-signature"],
            "sha256=acdb0da77e3f6874605ee4c3050970994799e2c89d74abecfd2af5fc041ed9cb"
        );
    }

    #[test]
    fn the_standard_signature_is_the_one_of_its_specification() {
        let headers = headers_of(
            &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            headers["webhook-signature"],
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(headers["webhook-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
    }

    #[test]
    fn a_second_secret_signs_beside_the_first_in_the_standard_header_only() {
        let one = headers_of(&["first-secret"], "msg_a_failed", 1, b"{}");
        let two = headers_of(&["first-secret", "second-secret"], "msg_a_failed", 1, b"{}");
        let other = headers_of(&["second-secret"], "msg_a_failed", 1, b"{}");
        assert_eq!(one["x-webhook-signature"], two["x-webhook-signature"]);
        assert_eq!(
            two["webhook-signature"],
            format!(
                "{} {}",
                one["webhook-signature"], other["webhook-signature"]
            )
        );
    }

    #[test]
    fn without_a_secret_there_is_no_signer() {
        assert!(Signer::new(&[]).is_none());
    }

    #[test]
    fn no_secret_shows_in_the_debug_text() {
        let signer = Signer::new(&[SecretString::from("quite-a-secret")]).unwrap();
        assert_eq!(format!("{signer:?}"), "Signer(1 secrets)");
    }
}
