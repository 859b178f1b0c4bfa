//! Cloud Storage: objects over JSON (`json.rs`: write and read) and over gRPC (`grpc.rs`: list, get,
//! delete, compose), as the official client divides them.

mod grpc;
mod json;
mod objects;

use std::sync::Arc;

use axum::response::Response;

pub(crate) use objects::Objects;

use crate::reply::{self, Body, Code};
use crate::server::{Call, Shared};

/// What a call is to Storage.
pub(crate) fn operation(call: &Call) -> Option<&'static str> {
    let path = call.path();
    if let Some(method) = path.strip_prefix("/google.storage.v2.Storage/") {
        return match method {
            "ListObjects" => Some("storage.list"),
            "GetObject" => Some("storage.metadata"),
            "DeleteObject" => Some("storage.delete"),
            "ComposeObject" => Some("storage.compose"),
            _ => None,
        };
    }
    if path.starts_with("/storage/v1/b/") && call.method == hyper::Method::GET {
        return Some("storage.read");
    }
    if path.starts_with("/upload/storage/v1/b/") {
        return match call.query("uploadType").as_deref() {
            Some("multipart") => Some("storage.insert"),
            Some("resumable") if call.method == hyper::Method::POST => Some("storage.start"),
            Some("resumable") => Some("storage.upload"),
            _ => None,
        };
    }
    None
}

/// Carries it out.
pub(crate) fn answer(shared: &Arc<Shared>, operation: &str, call: &Call) -> Response<Body> {
    match operation {
        "storage.list" => reply::grpc(grpc::list(shared, call)),
        "storage.metadata" => reply::grpc(grpc::get(shared, call)),
        "storage.delete" => reply::grpc(grpc::delete(shared, call)),
        "storage.compose" => reply::grpc(grpc::compose(shared, call)),
        "storage.insert" => json::insert(shared, call),
        "storage.start" => json::start(shared, call),
        "storage.upload" => json::upload(shared, call),
        "storage.read" => json::read(shared, call),
        _ => reply::error(Code::NotFound, "No such method."),
    }
}
