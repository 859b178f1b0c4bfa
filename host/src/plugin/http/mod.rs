//! What the `http` interface of the contract offers: requests to the hosts that the operator granted,
//! with secrets that the plugin can name and never sees.
//!
//! What is sent is judged (`judge`), what comes back is cleaned; [`HttpClient`] carries it, and
//! `outbound/` is the one that does.

mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use url::Url;

use super::Failure;
use super::grants::Grants;
use crate::redact::Redactor;

/// Requests of one call of a plugin, refused ones included.
const REQUESTS: u32 = 32;

/// Carries requests that were judged. It follows no redirect, goes to no address that it may not and
/// keeps nothing of what is sent out of every log.
#[async_trait]
pub trait HttpClient: std::fmt::Debug + Send + Sync {
    /// Sends one request; an answer of more than `most` bytes, headers included, is a failure.
    async fn send(&self, request: HttpRequest, most: u64) -> Result<HttpResponse, Failure>;
}

/// A request that was judged.
#[derive(Debug)]
pub struct HttpRequest {
    /// One of a few, in upper case.
    pub method: &'static str,
    /// Of a granted host.
    pub url: Url,
    /// Names in lower case; values may be secrets.
    pub headers: Vec<(String, SecretString)>,
    /// Bounded.
    pub body: Vec<u8>,
    /// From connecting to the answer's last byte.
    pub timeout: Duration,
}

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// Any, redirects included.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whole.
    pub body: Vec<u8>,
}

/// A request as a plugin writes it.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout_ms: Option<u32>,
}

/// The `http` of one call of one plugin.
#[derive(Debug)]
pub struct Http {
    plugin: Arc<str>,
    task: String,
    grants: Grants,
    client: Arc<dyn HttpClient>,
    secrets: Arc<BTreeMap<String, SecretString>>,
    redactor: Arc<Redactor>,
    most: u64,
    sent: AtomicU32,
    refused: Mutex<BTreeSet<String>>,
}

impl Http {
    pub(super) fn new(
        plugin: &str,
        task: &str,
        grants: Grants,
        capabilities: &super::Capabilities,
        most: u64,
    ) -> Self {
        Self {
            plugin: plugin.into(),
            task: task.to_owned(),
            grants,
            client: Arc::clone(&capabilities.http),
            secrets: Arc::clone(&capabilities.secrets),
            redactor: Arc::clone(&capabilities.redactor),
            most,
            sent: AtomicU32::new(0),
            refused: Mutex::default(),
        }
    }

    /// Grants that were missed, each once.
    pub(super) fn refused(&self) -> Vec<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().cloned().collect()
    }

    /// Sends one request, if everything about it is in order.
    pub(crate) async fn send(&self, wanted: Wanted) -> Result<HttpResponse, Failure> {
        if self.sent.fetch_add(1, Ordering::Relaxed) >= REQUESTS {
            return Err(Failure::new(
                "too-many-requests",
                format!("one call can send {REQUESTS} requests"),
            ));
        }
        let request = self.judge(wanted)?;
        let place = request.url.origin().ascii_serialization();
        let answer = self.client.send(request, self.most).await;
        if let Err(failure) = &answer {
            tracing::warn!(
                plugin = &*self.plugin,
                task = self.task,
                host = place,
                code = failure.code,
                "a plugin's request failed"
            );
        }
        self.clean(answer?)
    }

    /// Takes every secret of the task out of an answer.
    fn clean(&self, answer: HttpResponse) -> Result<HttpResponse, Failure> {
        let encoded = |(name, value): &(String, String)| {
            name == "content-encoding" && !value.eq_ignore_ascii_case("identity")
        };
        if answer.headers.iter().any(encoded) {
            return Err(Failure::new(
                "unreadable",
                "the answer is compressed, which was not asked for",
            ));
        }
        let clean = |text: &String| self.redactor.text(text);
        Ok(HttpResponse {
            status: answer.status,
            headers: answer
                .headers
                .iter()
                .map(|(name, value)| (clean(name), clean(value)))
                .collect(),
            body: self.redactor.bytes(&answer.body).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
