//! Whether a request may be sent as it is written: method, place, headers, size, secrets.

use std::sync::PoisonError;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Http, HttpRequest, Wanted};
use crate::plugin::Failure;
use crate::plugin::grants::is_secret_name;

/// Bytes of a URL.
pub(super) const URL: usize = 2048;
/// Bytes of a request's body.
pub(super) const BODY: usize = 1 << 20;
/// Headers of a request, and bytes of all their names and values.
pub(super) const HEADERS: usize = 64;
pub(super) const HEADER_BYTES: usize = 32 << 10;
/// How long one request may take; its own limit can only be shorter.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// Characters of a missed grant that are told: the host in it is the plugin's choice.
const GRANT: usize = 256;
/// Before and after a secret's name in a header.
const OPENING: &str = "[secret:";
const CLOSING: char = ']';

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];

/// Headers that are the connection's, or with which an answer would come in a form that secrets can't
/// be found in: compressed, or piece by piece.
const OURS: [&str; 13] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "http2-settings",
    "accept-encoding",
    "range",
    "if-range",
];

impl Http {
    pub(super) fn judge(&self, wanted: Wanted) -> Result<HttpRequest, Failure> {
        let method = METHODS
            .into_iter()
            .find(|method| *method == wanted.method)
            .ok_or_else(|| invalid(format!("the method must be one of {}", METHODS.join(", "))))?;
        if wanted.url.len() > URL {
            return Err(invalid(format!("a URL has at most {URL} bytes")));
        }
        let mut url = Url::parse(&wanted.url).map_err(|_| invalid("the URL cannot be read"))?;
        url.set_fragment(None);
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("the URL must not hold a user name or password"));
        }
        if !self.grants.permit_url(&url) {
            return Err(self.not_granted(&format!("http:{}", url.origin().ascii_serialization())));
        }
        if wanted.body.len() > BODY {
            return Err(Failure::new(
                "too-large",
                format!("a request's body has at most {BODY} bytes"),
            ));
        }
        let timeout = wanted
            .timeout_ms
            .map_or(LONGEST, |ms| Duration::from_millis(ms.into()).min(LONGEST));
        Ok(HttpRequest {
            method,
            url,
            headers: self.headers(wanted.headers)?,
            body: wanted.body,
            timeout,
        })
    }

    fn headers(
        &self,
        wanted: Vec<(String, String)>,
    ) -> Result<Vec<(String, SecretString)>, Failure> {
        if wanted.len() > HEADERS {
            return Err(Failure::new(
                "too-large",
                format!("a request has at most {HEADERS} headers"),
            ));
        }
        let mut bytes = 0;
        let mut headers = Vec::with_capacity(wanted.len());
        for (name, value) in wanted {
            let name = name.to_ascii_lowercase();
            if !is_token(&name) {
                return Err(invalid("a header's name has characters that none can have"));
            }
            if OURS.contains(&name.as_str()) || name.starts_with("proxy-") {
                return Err(invalid(format!("the header `{name}` is the host's to set")));
            }
            let value = SecretString::from(self.filled_in(&value)?);
            if !is_field_value(value.expose_secret()) {
                return Err(invalid(format!(
                    "the header `{name}` has a value that is not printable ASCII"
                )));
            }
            bytes += name.len() + value.expose_secret().len();
            headers.push((name, value));
        }
        if bytes > HEADER_BYTES {
            return Err(Failure::new(
                "too-large",
                format!("a request's headers have at most {HEADER_BYTES} bytes"),
            ));
        }
        Ok(headers)
    }

    /// Puts secrets in the place of their names. What looks like none stays as it is.
    fn filled_in(&self, value: &str) -> Result<String, Failure> {
        let mut filled = String::with_capacity(value.len());
        let mut rest = value;
        while let Some((before, after)) = rest.split_once(OPENING) {
            filled.push_str(before);
            let named = after.split_once(CLOSING);
            match named.filter(|(name, _)| is_secret_name(name)) {
                Some((name, after)) => {
                    filled.push_str(self.secret(name)?);
                    rest = after;
                }
                None => {
                    filled.push_str(OPENING);
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn secret(&self, name: &str) -> Result<&str, Failure> {
        if !self.grants.permit_secret(name) {
            return Err(self.not_granted(&format!("secret:{name}")));
        }
        let secret = self.secrets.get(name).ok_or_else(|| {
            Failure::new("no-secret", format!("the request has no secret `{name}`"))
        })?;
        let secret = secret.expose_secret();
        // A server may echo it, and what the redactor does not know would reach the plugin.
        if self.redactor.text(secret).contains(secret) {
            return Err(Failure::new(
                "no-secret",
                format!(
                    "the secret `{name}` is too short or too plain a word to be kept from a plugin"
                ),
            ));
        }
        Ok(secret)
    }

    fn not_granted(&self, grant: &str) -> Failure {
        let grant: &str = &grant.chars().take(GRANT).collect::<String>();
        tracing::warn!(
            plugin = &*self.plugin,
            task = self.task,
            grant,
            "a plugin asked for what it is not granted"
        );
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(grant.to_owned());
        Failure::new(
            "not-granted",
            format!("the plugin `{}` has no grant `{grant}`", self.plugin),
        )
    }
}

fn invalid<'a>(message: impl Into<std::borrow::Cow<'a, str>>) -> Failure {
    Failure::new("invalid-request", message)
}

/// RFC 9110.
fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 128 && name.bytes().all(allowed)
}

fn is_field_value(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}
