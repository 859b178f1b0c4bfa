//! What the broker answers itself, in the shape of the upstream's errors.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::json;

/// A request that is not forwarded, or whose answer is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The head or the body is not plain HTTP/1.1 with one unambiguous length.
    Malformed,
    /// The head is too big or has too many headers.
    HeadTooLarge,
    /// The token is missing or wrong. Says no more than the upstream would.
    Unauthorized,
    /// Method, path or query is not on the list.
    PathDenied,
    /// The body is longer than `broker.max_body`.
    BodyTooLarge,
    /// The model is none of `broker.allowed_models`.
    ModelDenied,
    /// `max_tokens` is above `broker.max_tokens_per_request`.
    TooManyTokens,
    /// The task has used up `broker.max_requests`, `broker.max_output_tokens` or its budget. No 429: that would
    /// make the CLI try again for minutes.
    BudgetSpent,
    /// `broker.max_concurrent` requests are running.
    TooManyRequests,
    /// No connection, no TLS, or the connection broke before the answer began.
    Unreachable,
    /// No connection or no answer in time.
    TimedOut,
    /// The upstream answered with a redirect or a switch of protocols, which are never followed.
    Redirected,
}

impl Refusal {
    /// Status, the upstream's error type, our code, the sentence.
    fn parts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::Malformed => (
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                "proxy_request_malformed",
                "the request is not well-formed HTTP/1.1 in origin form",
            ),
            Self::HeadTooLarge => (
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                "proxy_head_too_large",
                "the request's head is too large",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "authentication_error",
                "proxy_unauthorized",
                "invalid x-api-key",
            ),
            Self::PathDenied => (
                StatusCode::FORBIDDEN,
                "permission_error",
                "proxy_path_denied",
                "this method and path are not available to the task",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                "proxy_body_too_large",
                "the request's body is larger than the broker forwards",
            ),
            Self::ModelDenied => (
                StatusCode::FORBIDDEN,
                "permission_error",
                "proxy_model_denied",
                "this model is not available to the task",
            ),
            Self::TooManyTokens => (
                StatusCode::FORBIDDEN,
                "permission_error",
                "proxy_max_tokens_denied",
                "max_tokens is higher than a request of the task may ask for",
            ),
            Self::BudgetSpent => (
                StatusCode::FORBIDDEN,
                "permission_error",
                "proxy_budget_spent",
                "the task has used up its requests, its tokens or its budget",
            ),
            Self::TooManyRequests => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "proxy_too_many_requests",
                "the task has too many requests running at once",
            ),
            Self::Unreachable => (
                StatusCode::BAD_GATEWAY,
                "api_error",
                "proxy_upstream_unreachable",
                "the upstream cannot be reached",
            ),
            Self::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "timeout_error",
                "proxy_upstream_timeout",
                "the upstream did not answer in time",
            ),
            Self::Redirected => (
                StatusCode::BAD_GATEWAY,
                "api_error",
                "proxy_upstream_redirect",
                "the upstream answered with a redirect, which is not followed",
            ),
        }
    }

    /// Whether the request was turned away, rather than the upstream having failed.
    pub(super) fn is_of_the_client(self) -> bool {
        self.parts().0.is_client_error()
    }

    fn body(self) -> Bytes {
        let (_, kind, code, message) = self.parts();
        let error = json!({"type": kind, "message": message, "code": code});
        json!({"type": "error", "error": error}).to_string().into()
    }

    pub(super) fn into_response(self) -> hyper::Response<http_body_util::Full<Bytes>> {
        let mut response = hyper::Response::new(self.body().into());
        *response.status_mut() = self.parts().0;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self == Self::TooManyRequests {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// The same in bytes, for a head that hyper is never shown.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let body = self.body();
        let mut bytes = format!(
            "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.parts().0,
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        bytes
    }
}
