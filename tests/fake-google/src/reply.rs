//! Answers, as Google's front ends give them over JSON and over gRPC.

use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

/// A body that may end with an error.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A failure with the code of gRPC that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidArgument,
    PermissionDenied,
    NotFound,
    Aborted,
    FailedPrecondition,
    ResourceExhausted,
    Internal,
    Unavailable,
    Unauthenticated,
}

impl Code {
    /// HTTP status, name, number of gRPC.
    fn parts(self) -> (u16, &'static str, u32) {
        match self {
            Self::InvalidArgument => (400, "INVALID_ARGUMENT", 3),
            Self::PermissionDenied => (403, "PERMISSION_DENIED", 7),
            Self::NotFound => (404, "NOT_FOUND", 5),
            Self::Aborted => (409, "ABORTED", 10),
            Self::FailedPrecondition => (412, "FAILED_PRECONDITION", 9),
            Self::ResourceExhausted => (429, "RESOURCE_EXHAUSTED", 8),
            Self::Internal => (500, "INTERNAL", 13),
            Self::Unavailable => (503, "UNAVAILABLE", 14),
            Self::Unauthenticated => (401, "UNAUTHENTICATED", 16),
        }
    }

    pub(crate) fn of_status(status: u16) -> Self {
        [
            Self::InvalidArgument,
            Self::PermissionDenied,
            Self::NotFound,
            Self::Aborted,
            Self::FailedPrecondition,
            Self::ResourceExhausted,
            Self::Unavailable,
            Self::Unauthenticated,
        ]
        .into_iter()
        .find(|code| code.parts().0 == status)
        .unwrap_or(Self::Internal)
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(crate) fn json(value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json; charset=UTF-8"),
    );
    response
}

/// `{"error": {"code", "message", "status"}}`
pub(crate) fn error(code: Code, message: &str) -> Response<Body> {
    let (status, name, _) = code.parts();
    error_as(status, name, message)
}

/// As the APIs say it that are gRPC behind JSON: with 400. Storage says 412.
pub(crate) fn precondition(message: &str) -> Response<Body> {
    error_as(400, "FAILED_PRECONDITION", message)
}

fn error_as(status: u16, name: &str, message: &str) -> Response<Body> {
    let mut response =
        json(&json!({"error": {"code": status, "message": message, "status": name}}));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// One message of gRPC and its trailers.
pub(crate) fn grpc(result: Result<Vec<u8>, (Code, String)>) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    let mut frames = Vec::new();
    match result {
        Ok(message) => {
            let mut data = BytesMut::with_capacity(message.len() + 5);
            data.put_u8(0);
            data.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            data.put_slice(&message);
            frames.push(Ok(Frame::data(data.freeze())));
            trailers.insert("grpc-status", header::HeaderValue::from_static("0"));
        }
        Err((code, message)) => {
            trailers.insert("grpc-status", header::HeaderValue::from(code.parts().2));
            if let Ok(message) = header::HeaderValue::from_str(&message) {
                trailers.insert("grpc-message", message);
            }
        }
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/grpc"),
    );
    response
}
