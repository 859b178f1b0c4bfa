//! What the clients of Google's services have in common: where they ask, as whom, how often they try.
//!
//! The services themselves are named where they are used: `bucket/`, `envelope/`, `launch/`, and
//! `secret_manager.rs`. Credentials are found as every Google program finds them (Application Default
//! Credentials).

use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_gax::client_builder::ClientBuilder;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

use crate::config::Google;

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
