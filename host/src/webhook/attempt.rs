//! One attempt: the request, and what its answer means.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use reqwest::{Method, Response, StatusCode};

use super::Entry;
use super::sign::{self, Signer};
use crate::outbound::{Forbidden, Outbound};

/// So much of an answer is read, that the connection can be used again; none of it is kept.
const MAX_ANSWER: usize = 64 * 1024;

/// A receiver may put us off for so long at most.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 2xx.
    Delivered,
    /// 410: the receiver wants no more.
    Gone,
    /// It refused for a reason that waiting will hardly mend.
    Refused(String),
    /// It may work later; the receiver may have said when.
    Failed {
        /// For the entry: a status or a class of fault.
        error: String,
        /// By the receiver.
        retry_after: Option<Duration>,
    },
}

/// Sends the entry once, within `limit`; also the status of the answer, if there was one.
pub(super) async fn attempt(
    entry: &Entry,
    signer: &Signer,
    outbound: &Outbound,
    limit: Duration,
) -> (Outcome, Option<u16>) {
    let Ok(url) = url::Url::parse(&entry.url) else {
        return (Outcome::Refused("the URL cannot be read".to_owned()), None);
    };
    let mut request = match outbound.request(Method::POST, url) {
        Ok(request) => request,
        Err(Forbidden(why)) => return (Outcome::Refused(why), None),
    };
    for (name, value) in signer.headers(
        &entry.id,
        Timestamp::now().as_second(),
        entry.body.as_bytes(),
    ) {
        request = request.header(name, value);
    }
    let request = request
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, sign::USER_AGENT)
        .timeout(limit)
        .body(entry.body.clone());
    match request.send().await {
        Ok(answer) => {
            let status = answer.status();
            let outcome = judge(status, answer.headers(), Timestamp::now());
            drain(answer).await;
            (outcome, Some(status.as_u16()))
        }
        Err(error) => (fault(&error), None),
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Outcome {
    let error = format!("status {}", status.as_u16());
    match status {
        status if status.is_success() => Outcome::Delivered,
        StatusCode::GONE => Outcome::Gone,
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => {
            Outcome::Refused(error)
        }
        _ => Outcome::Failed {
            error,
            retry_after: retry_after(headers, now),
        },
    }
}

/// `Retry-After` in either of its forms.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTimeParser::new().parse_timestamp(value).ok()?;
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The outcome is known; what goes wrong from here on changes nothing.
async fn drain(mut answer: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > MAX_ANSWER {
            return;
        }
    }
}

/// Told by kind, because the client's own text holds the URL, whose query may hold a token.
fn fault(error: &reqwest::Error) -> Outcome {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Forbidden(why)) = error.downcast_ref() {
            return Outcome::Refused(why.clone());
        }
        cause = error.source();
    }
    let kind = if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    Outcome::Failed {
        error: kind.to_owned(),
        retry_after: None,
    }
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

    fn judged(status: u16, retry_after: Option<&str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        let now = "1994-11-06T08:49:30Z".parse().unwrap();
        judge(StatusCode::from_u16(status).unwrap(), &headers, now)
    }

    fn waits(outcome: &Outcome) -> Option<u64> {
        match outcome {
            Outcome::Failed { retry_after, .. } => retry_after.map(|wait| wait.as_secs()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_status_has_its_meaning() {
        for status in [200, 202, 204, 299] {
            assert_eq!(judged(status, None), Outcome::Delivered);
        }
        for status in [301, 302, 307, 308, 403, 408, 409, 429, 500, 502, 503, 504] {
            assert!(
                matches!(judged(status, None), Outcome::Failed { .. }),
                "{status}"
            );
        }
        for status in [400, 401, 404] {
            assert_eq!(
                judged(status, None),
                Outcome::Refused(format!("status {status}"))
            );
        }
        assert_eq!(judged(410, None), Outcome::Gone);
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped_at_a_day() {
        assert_eq!(waits(&judged(503, Some("120"))), Some(120));
        assert_eq!(
            waits(&judged(429, Some("Sun, 06 Nov 1994 08:49:37 GMT"))),
            Some(7)
        );
        assert_eq!(
            waits(&judged(429, Some("Sun, 06 Nov 1994 08:00:00 GMT"))),
            Some(0)
        );
        assert_eq!(waits(&judged(503, Some("99999999"))), Some(86_400));
        assert_eq!(waits(&judged(503, Some("soon"))), None);
        assert_eq!(waits(&judged(503, None)), None);
    }
}
