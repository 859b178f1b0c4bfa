//! Which headers cross the broker.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

/// Speak of one connection, not of the message (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
];

/// Say who the client is or where it came from.
const OF_THE_CLIENT: [&str; 8] = [
    "authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "cookie2",
    "forwarded",
    "via",
    "x-real-ip",
];

/// Families of such headers.
const OF_THE_CLIENT_PREFIXES: [&str; 2] = ["x-forwarded-", "proxy-"];

/// The upstream's cookies would make one task's requests recognisable to the next.
const OF_THE_UPSTREAM: [&str; 3] = ["set-cookie", "set-cookie2", "location"];

/// What the upstream is shown: the client's headers without any credential, with exactly one set.
pub(super) fn outgoing(client: &HeaderMap, (name, value): &(HeaderName, HeaderValue)) -> HeaderMap {
    let mut headers = without(client, |name| {
        OF_THE_CLIENT.contains(&name)
            || OF_THE_CLIENT_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
            // Made anew from the URL and from the body.
            || name == "host"
            || name == "content-length"
    });
    // Nothing is unpacked on the way, and packed answers could not be metered.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    headers.insert(name, value.clone());
    headers
}

/// What the client is shown of an answer.
pub(super) fn incoming(upstream: &HeaderMap) -> HeaderMap {
    without(upstream, |name| {
        OF_THE_UPSTREAM.contains(&name) || name.starts_with("proxy-")
    })
}

/// A copy without hop-by-hop headers, those that `Connection` names, and those that `dropped` tells.
fn without(headers: &HeaderMap, dropped: impl Fn(&str) -> bool) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            !HOP_BY_HOP.contains(&name)
                && !named.iter().any(|other| other == name)
                && !dropped(name)
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .fold(HeaderMap::new(), |mut kept, (name, value)| {
            kept.append(name, value);
            kept
        })
}
