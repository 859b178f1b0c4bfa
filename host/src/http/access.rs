//! Who may call: nobody is asked, or everybody shows one of the API keys.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::problem::{Problem, UNAUTHORIZED};
use crate::app::App;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// In records: `anonymous`, or `key-` and the first eight digits of its key's hash. For people, and
    /// short: two callers may have one name.
    pub(super) name: String,
    /// The whole hash: what is one caller's alone hangs on this. Told to nobody.
    pub(super) scope: String,
}

/// Refuses whoever shows no key where one is asked for; names everybody else.
pub(super) async fn ask_for_key(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    match identify(&app.config.auth.api_keys, request.headers()) {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => {
            let error = "An API key is required, as \"Authorization: Bearer …\" or \"X-Api-Key\"";
            Problem::new(UNAUTHORIZED, error).into_response()
        }
    }
}

/// None where a key is asked for and none that fits was shown.
fn identify(keys: &[SecretString], headers: &HeaderMap) -> Option<Caller> {
    if keys.is_empty() {
        return Some(Caller {
            name: "anonymous".to_owned(),
            scope: "anonymous".to_owned(),
        });
    }
    let digest = Sha256::digest(shown_key(headers)?);
    // Digests of one length are compared, all of them, so that time tells neither length nor place.
    let fits = keys.iter().fold(Choice::from(0), |fits, key| {
        fits | Sha256::digest(key.expose_secret())
            .as_slice()
            .ct_eq(digest.as_slice())
    });
    let scope = hex::encode(digest);
    let short: String = scope.chars().take(8).collect();
    bool::from(fits).then(|| Caller {
        name: format!("key-{short}"),
        scope,
    })
}

fn shown_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn shown(name: &'static str, value: &'static str) -> Option<Caller> {
        let keys = ["first-key", "second-key"].map(SecretString::from);
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        identify(&keys, &headers)
    }

    #[test]
    fn either_header_and_any_of_the_keys_will_do() {
        let caller = shown("authorization", "Bearer second-key").unwrap();
        assert_eq!(
            shown("authorization", "bearer second-key"),
            Some(caller.clone())
        );
        assert_eq!(shown("x-api-key", "second-key"), Some(caller.clone()));
        assert_eq!(caller.name.len(), "key-".len() + 8);
        assert_ne!(shown("x-api-key", "first-key"), Some(caller));
    }

    #[test]
    fn anything_else_is_nobody() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer third-key",
            "Basic second-key",
            "second-key",
            "Bearer second-key2",
        ] {
            assert_eq!(shown("authorization", value), None, "{value}");
        }
        assert_eq!(shown("x-api-key", "second"), None);
    }

    #[test]
    fn without_keys_everybody_is_anonymous() {
        let caller = identify(&[], &HeaderMap::new()).unwrap();
        assert_eq!(caller.name, "anonymous");
    }
}
