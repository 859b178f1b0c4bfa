//! The token proxy: the only holder of the real credential.
//!
//! Listens on loopback for one task, wants that task's own token, forwards two paths to one fixed
//! upstream and counts what was used. Does not know tasks or policies.

use secrecy::SecretString;
use serde_json::Value;

/// What the upstream is shown.
#[derive(Clone, Debug)]
pub enum Credential {
    /// As `x-api-key`.
    ApiKey(SecretString),
    /// As `Authorization: Bearer`.
    OAuth(SecretString),
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
}

/// A running broker; it ends when dropped.
#[derive(Debug)]
pub struct Broker {}

impl Broker {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(_settings: &crate::config::Broker, _credential: Credential) -> Result<Self, BrokerError> {
        unimplemented!()
    }

    /// What the agent needs: `ANTHROPIC_BASE_URL` and the token in `ANTHROPIC_API_KEY` or
    /// `CLAUDE_CODE_OAUTH_TOKEN`, by the credential's kind.
    pub fn environment(&self) -> Vec<(String, String)> {
        unimplemented!()
    }

    /// The task's token, to be redacted.
    pub fn token(&self) -> &SecretString {
        unimplemented!()
    }

    /// `{"requests","inputTokens","outputTokens","cacheReadInputTokens","cacheCreationInputTokens",
    /// "refused"}` so far.
    pub fn usage(&self) -> Value {
        unimplemented!()
    }

    /// Refuses all from now on and ends running requests.
    pub async fn shutdown(self) {
        unimplemented!()
    }
}
