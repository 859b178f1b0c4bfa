//! The task's own token: what the agent holds in place of the credential.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

/// Looks like a key to tools that check for one, and says where it is good for.
const PREFIX: &str = "sk-ant-gatehouse-";

/// 256 random bits in hex, behind [`PREFIX`].
#[derive(Clone, Debug)]
pub(super) struct Token(SecretString);

impl Token {
    pub(super) fn random() -> Result<Self, std::io::Error> {
        let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(std::io::Error::other)?;
        let text = format!("{PREFIX}{}", hex::encode(bytes.as_slice()));
        Ok(Self(SecretString::from(text)))
    }

    /// Whether a request bears the token, as `x-api-key` or as `Authorization: Bearer`. Every
    /// value is compared, each in constant time; a client that sends another credential beside the
    /// token is let in, and that credential is dropped like all others.
    pub(super) fn is_borne_by(&self, headers: &HeaderMap) -> bool {
        let keys = headers
            .get_all("x-api-key")
            .iter()
            .map(|value| value.as_bytes());
        let bearers = headers
            .get_all(AUTHORIZATION)
            .iter()
            .filter_map(|value| bearer(value.as_bytes()));
        let expected = self.0.expose_secret().as_bytes();
        keys.chain(bearers)
            .fold(Choice::from(0), |found, value| {
                found | value.ct_eq(expected)
            })
            .into()
    }

    pub(super) fn into_secret(self) -> SecretString {
        self.0
    }
}

/// The value after the scheme, which is spelt in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest)
}
