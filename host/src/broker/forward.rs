//! One request to the upstream and its answer back.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use reqwest::redirect::Policy;
use url::Url;

use super::body::{Download, Upload};
use super::refusal::Refusal;
use super::{BrokerError, Shared, headers};

/// A client that goes to the upstream and nowhere else: no redirect, no proxy of the environment,
/// no second attempt, nothing unpacked.
pub(super) fn client(settings: &crate::config::Broker) -> Result<reqwest::Client, BrokerError> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .https_only(settings.upstream.scheme() == "https")
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.read_timeout)
        .build()
        .map_err(|error| BrokerError::Client(error.to_string()))
}

/// Sends the request to `url` and returns as soon as the answer's head is there. Dropping the
/// future, or the answer's body later, aborts the exchange with the upstream.
pub(super) async fn forward(
    shared: &Shared,
    url: &Url,
    content_length: Option<u64>,
    request: Request<Incoming>,
) -> Result<Response<Download>, Refusal> {
    if content_length.is_some_and(|length| length > shared.max_body) {
        return Err(Refusal::BodyTooLarge);
    }
    let place = Arc::clone(&shared.places)
        .try_acquire_owned()
        .map_err(|_| Refusal::TooManyRequests)?;

    shared.allowance.judge_sums(&shared.meter)?;

    let (parts, body) = request.into_parts();
    let (upload, fault) = Upload::new(body, shared.max_body);
    let upload = if shared.allowance.reads_bodies() {
        let whole = upload
            .collect()
            .await
            .map_err(|_| fault.get().copied().unwrap_or(Refusal::Malformed))?;
        let whole = whole.to_bytes();
        shared.allowance.judge_body(&whole)?;
        reqwest::Body::from(whole)
    } else {
        reqwest::Body::wrap(upload)
    };
    let mut outgoing = reqwest::Request::new(Method::POST, url.clone());
    *outgoing.headers_mut() = headers::outgoing(&parts.headers, &shared.credential);
    *outgoing.body_mut() = Some(upload);

    shared.meter.forwarded();
    let answer = shared.client.execute(outgoing).await.map_err(|error| {
        let fault = fault.get().copied();
        fault.unwrap_or_else(|| upstream_fault(&error))
    })?;
    if answer.status().is_redirection() || answer.status().is_informational() {
        return Err(Refusal::Redirected);
    }

    let (mut parts, body) = Response::<reqwest::Body>::from(answer).into_parts();
    let reading = shared.meter.reading(&parts.headers);
    parts.headers = headers::incoming(&parts.headers);
    parts.extensions.clear();
    Ok(Response::from_parts(
        parts,
        Download::new(body, reading, place),
    ))
}

fn upstream_fault(error: &reqwest::Error) -> Refusal {
    if error.is_timeout() {
        Refusal::TimedOut
    } else {
        Refusal::Unreachable
    }
}
