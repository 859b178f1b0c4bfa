//! The token proxy: the only holder of the real credential.
//!
//! Listens on loopback for one task, wants that task's own token, forwards two paths to one fixed
//! upstream and counts what was used. Does not know tasks or policies, and writes nothing that
//! passes through it to the log, at any level.
//!
//! A connection carries one request. Its head is read strictly, byte by byte, before hyper sees it
//! (`head`); the target is compared with a list and never becomes part of a URL (`routes`); of
//! the headers only those pass that speak of the message itself (`headers`). What is left is
//! streamed both ways without being held (`forward`, `body`), while `meter` reads the counts
//! out of it and `allowance` says when it is enough. Every answer of the broker's own is a `refusal::Refusal`.

mod allowance;
mod body;
mod connection;
mod forward;
mod head;
mod headers;
mod meter;
mod prices;
mod refusal;
mod routes;
#[cfg(test)]
mod tests;
mod token;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::allowance::Allowance;
use self::meter::Meter;
use self::prices::Prices;
use self::routes::Routes;
use self::token::Token;

/// What the upstream is shown.
#[derive(Clone, Debug)]
pub enum Credential {
    /// As `x-api-key`.
    ApiKey(SecretString),
    /// As `Authorization: Bearer`.
    OAuth(SecretString),
}

impl Credential {
    /// The one header that carries it.
    fn header(&self) -> Result<(HeaderName, HeaderValue), BrokerError> {
        let (name, value) = match self {
            Self::ApiKey(key) => (
                HeaderName::from_static("x-api-key"),
                HeaderValue::from_str(key.expose_secret()),
            ),
            Self::OAuth(token) => (
                AUTHORIZATION,
                HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())),
            ),
        };
        let mut value = value.map_err(|_| BrokerError::Credential)?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}

/// The broker could not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No port on loopback.
    #[error("the broker cannot listen: {0}")]
    Listen(#[source] std::io::Error),
    /// The TLS client cannot be made.
    #[error("the broker cannot make its client: {0}")]
    Client(String),
    /// A line break or another character that no header can carry.
    #[error("the credential contains characters that cannot be sent in a header")]
    Credential,
    /// The operating system gave no random bytes.
    #[error("the broker cannot make its token: {0}")]
    Token(#[source] std::io::Error),
    /// The table that is compiled in.
    #[error("the broker cannot read its prices: {0}")]
    Prices(String),
}

/// What every connection of one broker shares.
struct Shared {
    token: Token,
    routes: Routes,
    client: reqwest::Client,
    credential: (HeaderName, HeaderValue),
    /// One permit per forwarded request, held until its answer has ended.
    places: Arc<Semaphore>,
    max_body: u64,
    allowance: Allowance,
    meter: Meter,
}

/// A running broker; it ends when dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    token: SecretString,
    token_variable: &'static str,
    meter: Meter,
    budget: Option<u64>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Broker {
    /// Listens on a free port of 127.0.0.1. Once the answers have cost `budget` dollars by list prices,
    /// no further request goes out.
    pub async fn start(
        settings: &crate::config::Broker,
        credential: Credential,
        budget: Option<f64>,
    ) -> Result<Self, BrokerError> {
        let token_variable = match credential {
            Credential::ApiKey(_) => "ANTHROPIC_API_KEY",
            Credential::OAuth(_) => "CLAUDE_CODE_OAUTH_TOKEN",
        };
        let token = Token::random().map_err(BrokerError::Token)?;
        let prices = Prices::read().map_err(|error| BrokerError::Prices(error.to_string()))?;
        let meter = Meter::new(prices);
        let budget = budget.map(prices::from_dollars);
        let shared = Arc::new(Shared {
            token: token.clone(),
            routes: Routes::new(&settings.upstream, &settings.extra_paths),
            client: forward::client(settings)?,
            credential: credential.header()?,
            places: Arc::new(Semaphore::new(places(settings.max_concurrent))),
            max_body: settings.max_body,
            allowance: Allowance::new(settings, budget),
            meter: meter.clone(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(BrokerError::Listen)?;
        let address = listener.local_addr().map_err(BrokerError::Listen)?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(connection::accept(listener, shared, stop.clone()));
        tracing::debug!(%address, "broker listens");
        Ok(Self {
            address,
            token: token.into_secret(),
            token_variable,
            meter,
            budget,
            stop,
            serving,
        })
    }

    /// What the agent needs: `ANTHROPIC_BASE_URL` and the token in `ANTHROPIC_API_KEY` or
    /// `CLAUDE_CODE_OAUTH_TOKEN`, by the credential's kind.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            (
                "ANTHROPIC_BASE_URL".to_owned(),
                format!("http://{}", self.address),
            ),
            (
                self.token_variable.to_owned(),
                self.token.expose_secret().to_owned(),
            ),
        ]
    }

    /// The task's token, to be redacted.
    pub fn token(&self) -> &SecretString {
        &self.token
    }

    /// `{"requests","inputTokens","outputTokens","cacheReadInputTokens","cacheCreationInputTokens",
    /// "refused"}` so far. `requests` were forwarded, `refused` were answered by the broker itself.
    pub fn usage(&self) -> Value {
        self.meter.report()
    }

    /// What the answers have cost in dollars, where that has come to the budget.
    pub fn spent_budget(&self) -> Option<f64> {
        let cost = self.meter.cost();
        let spent = self.budget.is_some_and(|budget| cost >= budget);
        spent.then(|| prices::to_dollars(cost))
    }

    /// Refuses all from now on and ends running requests.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if (&mut self.serving).await.is_err() {
            tracing::warn!("the broker's listener had ended abnormally");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A semaphore's size: at least one request at a time.
fn places(max_concurrent: u32) -> usize {
    usize::try_from(max_concurrent)
        .unwrap_or(Semaphore::MAX_PERMITS)
        .clamp(1, Semaphore::MAX_PERMITS)
}
