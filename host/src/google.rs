//! What the clients of Google's services have in common: where they ask, as whom, how often they try.
//!
//! The services themselves are named where they are used: `bucket/`, `envelope/`, `launch/`, and
//! `secrets/`. Credentials are found as every Google program finds them (Application Default
//! Credentials).

use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_gax::backoff_policy::BackoffPolicy as _;
use google_cloud_gax::client_builder::ClientBuilder;
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_gax::retry_state::RetryState;

use crate::config::Google;

/// One try of [`insist`] is given up after so long.
const ONE_TRY: Duration = Duration::from_secs(5);
/// So many tries.
const TRIES: u32 = 5;
/// All of them together, so that a caller who waits for an answer gets one.
const ALL_TRIES: Duration = Duration::from_secs(15);
/// Of what a service says about a failure, in bytes.
const LONGEST_WORDS: usize = 500;

/// The address to ask instead of Google's, with the credentials that it wants: none.
pub(crate) fn elsewhere(config: &Google) -> Option<(String, Credentials)> {
    let url = config.endpoint.as_ref()?;
    let address = url.as_str().trim_end_matches('/').to_owned();
    Some((address, anonymous::Builder::new().build()))
}

/// Points a client to where the settings say.
pub(crate) fn placed<F>(
    builder: ClientBuilder<F, Credentials>,
    config: &Google,
) -> ClientBuilder<F, Credentials> {
    match elsewhere(config) {
        Some((address, nobody)) => builder.with_endpoint(address).with_credentials(nobody),
        None => builder,
    }
}

/// Between two tries: doubles from 50 ms to 2 s, with jitter.
pub(crate) fn backoff() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(50))
        .with_maximum_delay(Duration::from_secs(2))
        .clamp()
}

/// For the calls that are made with [`insist`], which tries again by itself: it also does where an answer
/// came and is damaged, of which the client knows nothing.
pub(crate) fn tried_once<F, C>(builder: ClientBuilder<F, C>) -> ClientBuilder<F, C> {
    builder
        .with_retry_policy(NeverRetry)
        .with_attempt_timeout(ONE_TRY)
}

/// Why a call failed; the words are for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It may succeed later: the service is away or overloaded, or something was damaged on the way.
    #[error("{0}")]
    Passing(String),
    /// The service does not do it.
    #[error("{1}")]
    Refused(Code, String),
}

impl Failure {
    pub(crate) fn passing(words: &str) -> Self {
        Self::Passing(words.to_owned())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let passing = match error.http_status_code() {
            // An answer of which not all came.
            Some(200) => true,
            Some(status) => status == 408 || status == 429 || status >= 500,
            None => {
                error.is_transient_and_before_rpc()
                    || error.is_io()
                    || error.is_timeout()
                    || error.is_transport()
                    || error.is_deserialization()
            }
        };
        let mut words = match error.is_deserialization() {
            // What cannot be read may be repeated there, and may be a secret.
            true => "an answer that cannot be read".to_owned(),
            false => error.to_string(),
        };
        words.truncate(words.floor_char_boundary(LONGEST_WORDS));
        match error.status() {
            _ if passing => Self::Passing(words),
            Some(status) => Self::Refused(status.code, words),
            None => Self::Refused(Code::Unknown, words),
        }
    }
}

/// Calls until it is done or refused: [`TRIES`] times within [`ALL_TRIES`]. Only for what may be done twice.
pub(crate) async fn insist<T, F: Future<Output = Result<T, Failure>>>(
    call: impl Fn() -> F,
) -> Result<T, Failure> {
    let backoff = backoff();
    let mut state = RetryState::new(true);
    let tries = async {
        loop {
            state.attempt_count += 1;
            match call().await {
                Err(Failure::Passing(words)) if state.attempt_count < TRIES => {
                    tracing::debug!(words, "a call of Google's failed; trying again");
                    tokio::time::sleep(backoff.on_failure(&state)).await;
                }
                done => break done,
            }
        }
    };
    tokio::time::timeout(ALL_TRIES, tries)
        .await
        .unwrap_or_else(|_| Err(Failure::Passing(format!("no answer in {ALL_TRIES:?}"))))
}

#[cfg(test)]
pub(crate) mod tests {
    /// Of `[google]`: nothing is named.
    pub(crate) fn settings() -> crate::config::Google {
        crate::config::Google {
            project_id: String::new(),
            region: String::new(),
            kms_key_ring: String::new(),
            kms_key_name: String::new(),
            kms_location: String::new(),
            job_name: String::new(),
            secrets_age: std::time::Duration::from_secs(60),
            endpoint: None,
        }
    }
}
