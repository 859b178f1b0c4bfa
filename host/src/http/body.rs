//! Reading a request's body: bounded while it comes, in bounded time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use super::problem::{BODY_BROKEN, BODY_TIMEOUT, BODY_TOO_LARGE, Problem, UNSUPPORTED_MEDIA_TYPE};

/// What comes after a refusal is thrown away up to so much and so long: a client that is still sending
/// when the connection closes would see it broken and never read why.
const MAX_DRAINED: usize = 64 << 20;
const MAX_DRAIN_TIME: Duration = Duration::from_secs(5);

/// The whole body, of at most `limit` bytes, that has come within `time`.
pub(super) async fn read(body: Body, limit: u64, time: Duration) -> Result<Bytes, Problem> {
    match tokio::time::timeout(time, collect(body, limit)).await {
        Ok(collected) => collected,
        Err(_) => Err(Problem::new(BODY_TIMEOUT, "The body did not come in time")),
    }
}

async fn collect(mut body: Body, limit: u64) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            BODY_TOO_LARGE,
            format!("The body is larger than {limit} bytes"),
        )
    };
    // What was announced is believed where it is too much, and for nothing else.
    if body.size_hint().lower() > limit {
        tokio::spawn(tokio::time::timeout(MAX_DRAIN_TIME, drain(body)));
        return Err(too_large());
    }
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Problem::new(BODY_BROKEN, "The body broke off").because(error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if collected.len() as u64 + data.len() as u64 > limit {
            tokio::spawn(tokio::time::timeout(MAX_DRAIN_TIME, drain(body)));
            return Err(too_large());
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

async fn drain(mut body: Body) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > MAX_DRAINED {
            return;
        }
    }
}

/// JSON must be called so: a web page could send any other type to a gateway on the reader's own
/// machine without its browser asking first.
pub(super) fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
        ));
    }
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            UNSUPPORTED_MEDIA_TYPE,
            "The body must not be compressed",
        ));
    }
    Ok(())
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
    use axum::response::IntoResponse;
    use futures::stream;

    const LONG: Duration = Duration::from_secs(3600);

    fn chunked(chunks: usize, size: usize) -> Body {
        let chunk = move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size]));
        Body::from_stream(stream::iter((0..chunks).map(chunk)))
    }

    fn status(result: Result<Bytes, Problem>) -> u16 {
        result.map_or_else(|problem| problem.into_response().status().as_u16(), |_| 200)
    }

    #[tokio::test]
    async fn a_body_is_cut_off_at_the_limit_whether_its_length_was_told_or_not() {
        assert_eq!(status(read(Body::from(vec![0; 100]), 100, LONG).await), 200);
        assert_eq!(status(read(Body::from(vec![0; 101]), 100, LONG).await), 413);
        assert_eq!(status(read(chunked(10, 10), 100, LONG).await), 200);
        assert_eq!(status(read(chunked(11, 10), 100, LONG).await), 413);
    }

    #[tokio::test]
    async fn no_more_is_read_than_it_takes_to_see_that_it_is_too_much() {
        let endless = Body::from_stream(stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(b"0123456789"))
        }));
        assert_eq!(status(read(endless, 1000, LONG).await), 413);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let stalled = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(
            status(read(stalled, 100, Duration::from_millis(10)).await),
            408
        );
    }

    #[test]
    fn only_plain_json_is_taken() {
        let headers = |kind: &'static str, encoding: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            headers.extend(
                encoding.map(|encoding| (header::CONTENT_ENCODING, encoding.parse().unwrap())),
            );
            headers
        };
        assert!(expect_json(&headers("application/json", None)).is_ok());
        assert!(
            expect_json(&headers(
                "Application/JSON; charset=utf-8",
                Some("identity")
            ))
            .is_ok()
        );
        assert!(expect_json(&headers("text/plain", None)).is_err());
        assert!(expect_json(&headers("application/jsonx", None)).is_err());
        assert!(expect_json(&headers("application/json", Some("gzip"))).is_err());
        assert!(expect_json(&HeaderMap::new()).is_err());
    }
}
