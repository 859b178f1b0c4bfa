//! `GET /tasks/{id}/events`: the events of a task, from wherever the reader left off.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::id::Id;
use super::problem::{INVALID_QUERY, Problem};
use super::submit::needs_follower;
use super::{access, stream, tasks};
use crate::access::Caller;
use crate::app::App;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/tasks/{id}/events", get(events))
}

#[derive(Deserialize)]
struct Params {
    after: Option<String>,
}

async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
    params: Result<Query<Params>, QueryRejection>,
) -> Result<Response, Problem> {
    let after = params.ok().and_then(|Query(params)| params.after);
    let after = position(&headers, after.as_deref())?;
    let record = tasks::record(&app, &caller, &id).await?;
    if wants_lines(&headers) {
        return Ok(stream::lines(&app, &record, after));
    }
    let place = access::stream(&app, &caller)?;
    let follower = needs_follower(&record).then(|| app.presence.follow(&id));
    Ok(stream::events(&app, &record, after, follower, place))
}

/// The number of the last event that the reader has. A browser that comes back repeats the address and
/// adds the header, so the header counts.
fn position(headers: &HeaderMap, after: Option<&str>) -> Result<u64, Problem> {
    let refused = || {
        Problem::new(
            INVALID_QUERY,
            "Last-Event-ID and after must be a sequence number",
        )
    };
    let header = match headers.get("last-event-id") {
        Some(value) => Some(value.to_str().map_err(|_| refused())?),
        None => None,
    };
    match header.or(after).map(str::trim) {
        None | Some("") => Ok(0),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| refused())
        }
        Some(_) => Err(refused()),
    }
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    accept
        .split(',')
        .any(|kind| kind.trim().starts_with("application/x-ndjson"))
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

    fn from(header: Option<&'static str>, after: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.extend(
            header.map(|value| ("last-event-id".parse().unwrap(), value.parse().unwrap()))
                as Option<(axum::http::HeaderName, _)>,
        );
        position(&headers, after).ok()
    }

    #[test]
    fn a_reader_goes_on_after_the_number_it_names_in_the_header_or_the_address() {
        assert_eq!(from(None, None), Some(0));
        assert_eq!(from(Some("17"), None), Some(17));
        assert_eq!(from(None, Some("5")), Some(5));
        assert_eq!(from(Some("17"), Some("5")), Some(17));
        assert_eq!(from(Some(""), None), Some(0));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["-1", "+1", "1.5", "x", "99999999999999999999999"] {
            assert_eq!(from(Some(text), None), None, "{text}");
            assert_eq!(from(None, Some(text)), None, "{text}");
        }
    }
}
