//! Who may call: nobody is asked, or everybody shows one of the API keys. What changes the gateway
//! itself is for whoever shows the operator's key, which is good for everything else, too.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::problem::{OPERATORS_ONLY, Problem, UNAUTHORIZED};
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
    let operator = is_operator(&app, request.headers()).then(|| Caller {
        name: OPERATOR.to_owned(),
        scope: OPERATOR.to_owned(),
    });
    match operator.or_else(|| identify(&app.auth.borrow().api_keys, request.headers())) {
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

/// The operator's name in records.
const OPERATOR: &str = "operator";

/// Whoever shows the operator's key; everybody else is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator;

impl Operator {
    /// For the record of what was changed.
    pub(super) fn name(self) -> &'static str {
        OPERATOR
    }
}

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        if is_operator(app, &parts.headers) {
            return Ok(Self);
        }
        let error = "This is for operators: show auth.admin_key as \"Authorization: Bearer …\"";
        Err(Problem::new(OPERATORS_ONLY, error))
    }
}

fn is_operator(app: &App, headers: &HeaderMap) -> bool {
    let auth = app.auth.borrow();
    let (Some(key), Some(shown)) = (&auth.admin_key, shown_key(headers)) else {
        return false;
    };
    let (key, shown) = (Sha256::digest(key.expose_secret()), Sha256::digest(shown));
    key.as_slice().ct_eq(shown.as_slice()).into()
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
