//! What plugins send, by the dialler that judges every address.

use std::error::Error as _;

use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use url::Url;

use super::{Forbidden, MAX_SIGNED_URL, Outbound, Policy};
use crate::config;
use crate::plugin::{Failure, HttpClient, HttpRequest, HttpResponse};

/// Carries requests of plugins. Plain http goes to private addresses only, where they are permitted:
/// what is for callback URLs in public networks is not for secrets.
#[derive(Clone, Debug)]
pub struct ForPlugins(Outbound);

impl ForPlugins {
    /// By `[outbound]`.
    pub fn new(settings: &config::Outbound) -> Result<Self, Forbidden> {
        Outbound::by(&without_plain_http(settings)).map(Self)
    }

    /// The same for what fetches plugins, which registries send to addresses of their storage's making.
    pub fn for_sources(settings: &config::Outbound) -> Result<Self, Forbidden> {
        let policy = Policy {
            longest: MAX_SIGNED_URL,
            ..Policy::by(&without_plain_http(settings))
        };
        Outbound::with(policy, Vec::new()).map(Self)
    }

    /// Whether anything could ever be sent there, as far as the URL tells.
    pub fn check(url: &Url, settings: &config::Outbound) -> Result<(), Forbidden> {
        Policy::by(&without_plain_http(settings)).check(url)
    }

    async fn exchange(&self, request: HttpRequest, most: u64) -> Result<HttpResponse, Failure> {
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| Failure::new("invalid-request", "the method is none"))?;
        let sent = self
            .0
            .request(method, request.url)
            .map_err(|Forbidden(why)| Failure::new("address-refused", why))?
            .headers(headers(&request.headers)?)
            .body(request.body)
            .send()
            .await;
        let mut answer = sent.map_err(failure)?;

        let too_large = || {
            Failure::new(
                "answer-too-large",
                format!("the answer has more than {most} bytes, the plugin's limits.output"),
            )
        };
        let mut left = most;
        let mut take = |bytes: usize| {
            left = left.checked_sub(bytes as u64).ok_or_else(too_large)?;
            Ok::<(), Failure>(())
        };
        let mut received = Vec::new();
        for (name, value) in answer.headers() {
            take(name.as_str().len() + value.len())?;
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            received.push((name.as_str().to_owned(), value));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failure)? {
            take(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse {
            status: answer.status().as_u16(),
            headers: received,
            body,
        })
    }
}

#[async_trait]
impl HttpClient for ForPlugins {
    async fn send(&self, request: HttpRequest, most: u64) -> Result<HttpResponse, Failure> {
        let limit = request.timeout;
        match tokio::time::timeout(limit, self.exchange(request, most)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Failure::new(
                "timed-out",
                format!("no whole answer within {} ms", limit.as_millis()),
            )),
        }
    }
}

fn without_plain_http(settings: &config::Outbound) -> config::Outbound {
    config::Outbound {
        allow_http: false,
        ..settings.clone()
    }
}

/// A secret that came compressed could not be found, so nothing is asked for compressed.
fn headers(wanted: &[(String, secrecy::SecretString)]) -> Result<HeaderMap, Failure> {
    let invalid = || Failure::new("invalid-request", "a header cannot be sent");
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in wanted {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// What went wrong, without the URL: its path and query are the plugin's.
fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(Forbidden(why)) = inner.downcast_ref() {
            return Failure::new("address-refused", why.as_str());
        }
        cause = inner.source();
    }
    if error.is_connect() {
        Failure::new("unreachable", "the host cannot be reached")
    } else {
        Failure::new("broken", "the exchange broke off")
    }
}

#[cfg(test)]
#[path = "for_plugins_tests.rs"]
mod tests;
