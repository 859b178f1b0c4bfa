//! What a command shows to the gateway that it speaks to: the gateway's own key, and Google's identity token where
//! the gateway stands behind the check of Cloud Run.
//!
//! Neither stands in `Authorization`: Cloud Run takes what is there for a token of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret as _, SecretString};

/// The token, where it is not given by a file.
const IDENTITY_TOKEN: &str = "GATEHOUSE_IDENTITY_TOKEN";

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_SERVERLESS_AUTHORIZATION: HeaderName =
    HeaderName::from_static("x-serverless-authorization");

/// Where the identity token is found; a secret is no argument.
#[derive(Debug, Args)]
pub(super) struct Identity {
    /// A file with Google's identity token, for a gateway on Cloud Run; else GATEHOUSE_IDENTITY_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    identity_token_file: Option<PathBuf>,
}

impl Identity {
    fn token(
        &self,
        environment: &BTreeMap<String, String>,
    ) -> anyhow::Result<Option<SecretString>> {
        let given = match &self.identity_token_file {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?,
            ),
            None => environment.get(IDENTITY_TOKEN).cloned(),
        };
        let token = given.map(|token| SecretString::from(token.trim()));
        Ok(token.filter(|token| !token.expose_secret().is_empty()))
    }
}

/// A client that shows the key, where there is one, and the token. It follows no redirect: neither is for anybody
/// but the gateway that was named.
pub(super) fn client(
    url: &str,
    key: Option<&SecretString>,
    identity: &Identity,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<reqwest::Client> {
    let is_plain = url.starts_with("http:");
    let token = identity.token(environment)?;
    if token.is_some() && is_plain && !is_here(url) {
        bail!("an identity token is sent by https only, and not to {url}");
    }
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let value = value(key.expose_secret());
        headers.insert(
            X_API_KEY,
            value.context("the gateway's key cannot be sent")?,
        );
    }
    if let Some(token) = token {
        let value = value(&format!("Bearer {}", token.expose_secret()));
        let value = value.context("the identity token cannot be sent")?;
        headers.insert(X_SERVERLESS_AUTHORIZATION, value);
    }
    let mut client = reqwest::Client::builder().redirect(Policy::none());
    if is_plain {
        // It would be told the key.
        client = client.no_proxy();
    }
    Ok(client.default_headers(headers).build()?)
}

/// Whether a URL leads to this machine.
pub(super) fn is_here(url: &str) -> bool {
    match url::Url::parse(url).ok().as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(url::Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified(),
        None => false,
    }
}

fn value(secret: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(secret)?;
    value.set_sensitive(true);
    Ok(value)
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

    #[test]
    fn this_machine_is_known_by_its_addresses_and_its_one_name() {
        for (url, here) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://0.0.0.0:8080", true),
            ("http://localhost", true),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
            ("https://gateway.example", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_here(url), here, "{url}");
        }
    }

    #[test]
    fn an_identity_token_goes_by_https_or_stays_here() {
        let token = BTreeMap::from([(IDENTITY_TOKEN.to_owned(), "canary".to_owned())]);
        let identity = Identity {
            identity_token_file: None,
        };
        for url in ["https://gateway.example", "http://127.0.0.1:1"] {
            client(url, None, &identity, &token).unwrap();
        }
        let refused = client("http://gateway.example", None, &identity, &token).unwrap_err();
        assert!(refused.to_string().contains("https"), "{refused}");
        assert!(!format!("{refused:?}").contains("canary"));
        client("http://gateway.example", None, &identity, &BTreeMap::new()).unwrap();
    }
}
