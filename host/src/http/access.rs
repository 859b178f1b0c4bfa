//! Who may call: nobody is asked, or everybody shows a key or a token. What changes the gateway itself is for
//! whoever shows the operator's key, which is good for everything else, too.
//!
//! `crate::access` knows who that is and how much each may ask; here is where it stands in a request, and
//! what is answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{
    ISSUER_UNAVAILABLE, OPERATORS_ONLY, Problem, TOO_MANY_FAILURES, TOO_MANY_REQUESTS,
    TOO_MANY_STREAMS, UNAUTHORIZED, whole_seconds,
};
use crate::access::{Caller, OPERATOR, Refused, Standing, StreamPlace};
use crate::app::App;

/// Lets in whoever may call and has not asked too much.
pub(super) async fn ask_who_calls(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let shown = shown_key(request.headers());
    let proxies = app.access.limits.proxies;
    let peer = peer(request.extensions(), request.headers(), proxies);
    let caller = match identify(&app, shown, peer).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let standing = match count(&app, &caller, request.uri().path()) {
        Ok(standing) => standing,
        Err((standing, problem)) => return (headers(standing), problem).into_response(),
    };
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    if let Some(standing) = standing {
        response.headers_mut().extend(headers(standing));
    }
    response
}

async fn identify(app: &App, shown: Option<&str>, peer: IpAddr) -> Result<Caller, Problem> {
    let access = &app.access;
    // Where nobody is asked, what somebody shows may be for a proxy in front, and is no guess until it is to
    // be the operator's key.
    let locked = shown.is_some().then(|| locked(app, peer)).flatten();
    if let Some(problem) = &locked
        && access.asks()
    {
        return Err(problem.clone());
    }
    let operator = shown
        .filter(|_| locked.is_none())
        .and_then(|key| access.operator(key));
    if let Some(operator) = operator {
        return Ok(operator);
    }
    match access.identify(shown).await {
        Ok(caller) => Ok(caller),
        Err(Refused::IssuerAway) => {
            let error =
                "Tokens cannot be checked now: their issuer does not answer; try again later";
            Err(Problem::new(ISSUER_UNAVAILABLE, error))
        }
        Err(refused @ (Refused::Unknown | Refused::NoGuess)) => {
            if shown.is_some() && refused == Refused::Unknown {
                access.limits.failures.charge(peer, Instant::now());
            }
            let error =
                "A key or token is required, as \"Authorization: Bearer …\" or \"X-Api-Key\"";
            Err(Problem::new(UNAUTHORIZED, error))
        }
    }
}

/// That the address has shown too much that was wrong.
fn locked(app: &App, peer: IpAddr) -> Option<Problem> {
    let standing = app.access.limits.failures.look(&peer, Instant::now())?;
    let error = "Too many wrong keys or tokens came from this address; try again later";
    let problem = || Problem::new(TOO_MANY_FAILURES, error).after(standing.wait);
    (!standing.wait.is_zero()).then(problem)
}

/// Takes what the request costs; what is scarcer is told.
fn count(app: &App, caller: &Caller, path: &str) -> Result<Option<Standing>, (Standing, Problem)> {
    if caller.operator {
        return Ok(None);
    }
    let limits = &app.access.limits;
    let now = Instant::now();
    let mut standing = None;
    let brings_task = path == "/run" || path == "/run-async";
    for (rates, counts) in [(&limits.requests, true), (&limits.tasks, brings_task)] {
        let taken = counts.then(|| rates.take(caller.scope.clone(), now));
        let Some(taken) = taken.flatten() else {
            continue;
        };
        if !taken.wait.is_zero() {
            let error = format!(
                "At most {} such requests a minute; try again later",
                taken.limit
            );
            return Err((
                taken,
                Problem::new(TOO_MANY_REQUESTS, error).after(taken.wait),
            ));
        }
        standing = Some(taken);
    }
    Ok(standing)
}

/// As draft-ietf-httpapi-ratelimit-headers-03 has them, which clients read; seconds until all is there again.
fn headers(standing: Standing) -> HeaderMap {
    let values = [
        ("ratelimit-limit", u64::from(standing.limit)),
        ("ratelimit-remaining", u64::from(standing.remaining)),
        ("ratelimit-reset", whole_seconds(standing.full_in)),
    ];
    let header = |(name, value)| (HeaderName::from_static(name), HeaderValue::from(value));
    values.map(header).into_iter().collect()
}

/// A place for an event stream.
pub(super) fn stream(app: &App, caller: &Caller) -> Result<Option<StreamPlace>, Problem> {
    if caller.operator {
        return Ok(None);
    }
    let place = app.access.limits.stream(&caller.scope);
    place.map(Some).ok_or_else(|| {
        let error = "Every event stream that one caller may have open is; close one first";
        Problem::new(TOO_MANY_STREAMS, error).after(RETRY_STREAM)
    })
}

/// Streams end when their readers like.
const RETRY_STREAM: std::time::Duration = std::time::Duration::from_secs(5);

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who connects, or of whom the last of so many proxies say so. What a caller writes there itself stands
/// further to the front.
fn peer(extensions: &axum::http::Extensions, headers: &HeaderMap, proxies: usize) -> IpAddr {
    let connected = extensions.get::<Peer>().map(|Peer(address)| *address);
    // What cannot be read keeps its place: no byte of a caller's moves what proxies wrote.
    let told: Vec<&[u8]> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .collect();
    let told = proxies.checked_sub(1).and_then(|nearer| {
        let told = told.iter().rev().nth(nearer)?;
        std::str::from_utf8(told).ok()?.trim().parse().ok()
    });
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    match told.or(connected).unwrap_or(unknown).to_canonical() {
        // Who has one address there has all of its network.
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::internal("no caller"))
    }
}

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
        if Caller::from_request_parts(parts, app).await?.operator {
            return Ok(Self);
        }
        // Where nobody is asked, this is where the operator's key would be guessed.
        if shown_key(&parts.headers).is_some() && !app.access.asks() {
            let limits = &app.access.limits;
            let peer = peer(&parts.extensions, &parts.headers, limits.proxies);
            if let Some(problem) = locked(app, peer) {
                return Err(problem);
            }
            limits.failures.charge(peer, Instant::now());
        }
        let error = "This is for operators: show auth.admin_key as \"Authorization: Bearer …\"";
        Err(Problem::new(OPERATORS_ONLY, error))
    }
}

/// `X-Api-Key` counts before `Authorization`, which may be for a proxy in front.
fn shown_key(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok();
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
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

    fn headers_of(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(header) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn either_header_shows_a_key_and_x_api_key_comes_first() {
        let shown = |lines| shown_key(&headers_of(lines)).map(str::to_owned);
        assert_eq!(shown(&[("authorization", "Bearer k")]).unwrap(), "k");
        assert_eq!(shown(&[("authorization", "bearer  k")]).unwrap(), "k");
        assert_eq!(shown(&[("x-api-key", "k")]).unwrap(), "k");
        let both = [("authorization", "Bearer proxy's"), ("x-api-key", "ours")];
        assert_eq!(shown(&both).unwrap(), "ours");
        for value in ["", "Bearer", "Basic k", "k"] {
            assert_eq!(shown_key(&headers_of(&[("authorization", value)])), None);
        }
    }

    #[test]
    fn an_address_is_what_the_nearest_trusted_proxy_saw() {
        let mut extensions = axum::http::Extensions::new();
        extensions.insert(Peer("10.0.0.1".parse().unwrap()));
        let lines = [
            ("x-forwarded-for", "203.0.113.9, 198.51.100.7"),
            ("x-forwarded-for", "192.0.2.3"),
        ];
        let seen = |proxies| peer(&extensions, &headers_of(&lines), proxies).to_string();
        assert_eq!(seen(0), "10.0.0.1");
        assert_eq!(seen(1), "192.0.2.3");
        assert_eq!(seen(2), "198.51.100.7");
        assert_eq!(seen(8), "10.0.0.1");
        let mut unreadable = headers_of(&lines);
        let bytes = HeaderValue::from_bytes(b"198.51.100.9, \xff, 192.0.2.4").unwrap();
        unreadable.append("x-forwarded-for", bytes);
        let seen = |proxies| peer(&extensions, &unreadable, proxies).to_string();
        let found = [1, 2, 3, 4].map(seen);
        let expected = ["192.0.2.4", "10.0.0.1", "198.51.100.9", "192.0.2.3"];
        assert_eq!(found, expected);
        let network = |address: &str| {
            let mut extensions = axum::http::Extensions::new();
            extensions.insert(Peer(address.parse().unwrap()));
            peer(&extensions, &HeaderMap::new(), 0).to_string()
        };
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.3"), "192.0.2.3");
    }
}
