//! `google.storage.v2.Storage`, as far as it is used. The numbers are those of Google's published interface,
//! written by hand: what a client sends is not read with the client's own types.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::objects::{Refused, Stored, missing};
use crate::reply::Code;
use crate::server::{Call, Shared};

/// Objects of one page at most, whatever is asked for.
const PAGE: usize = 1000;

#[derive(Clone, PartialEq, Message)]
struct Checksums {
    #[prost(fixed32, optional, tag = "1")]
    crc32c: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Object {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    bucket: String,
    #[prost(int64, tag = "3")]
    generation: i64,
    #[prost(int64, tag = "4")]
    metageneration: i64,
    #[prost(int64, tag = "6")]
    size: i64,
    #[prost(string, tag = "13")]
    content_type: String,
    #[prost(message, optional, tag = "16")]
    checksums: Option<Checksums>,
    #[prost(map = "string, string", tag = "22")]
    metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct ListRequest {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(int32, tag = "2")]
    page_size: i32,
    #[prost(string, tag = "3")]
    page_token: String,
    #[prost(string, tag = "6")]
    prefix: String,
    #[prost(string, tag = "10")]
    lexicographic_start: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    objects: Vec<Object>,
    #[prost(string, tag = "3")]
    next_page_token: String,
}

#[derive(Clone, PartialEq, Message)]
struct GetRequest {
    #[prost(string, tag = "1")]
    bucket: String,
    #[prost(string, tag = "2")]
    object: String,
}

#[derive(Clone, PartialEq, Message)]
struct DeleteRequest {
    #[prost(string, tag = "1")]
    bucket: String,
    #[prost(string, tag = "2")]
    object: String,
    #[prost(int64, optional, tag = "5")]
    if_generation_match: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Conditions {
    #[prost(int64, optional, tag = "1")]
    if_generation_match: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Source {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "2")]
    generation: i64,
    #[prost(message, optional, tag = "3")]
    conditions: Option<Conditions>,
}

#[derive(Clone, PartialEq, Message)]
struct ComposeRequest {
    #[prost(message, optional, tag = "1")]
    destination: Option<Object>,
    #[prost(message, repeated, tag = "2")]
    sources: Vec<Source>,
    #[prost(int64, optional, tag = "4")]
    if_generation_match: Option<i64>,
}

type Answer = Result<Vec<u8>, Refused>;

fn message<T: Message + Default>(call: &Call) -> Result<T, Refused> {
    let malformed = || (Code::InvalidArgument, "a malformed message".to_owned());
    let message = call.body.get(5..).ok_or_else(malformed)?;
    T::decode(message).map_err(|_| malformed())
}

fn bucket(name: &str) -> Result<&str, Refused> {
    name.strip_prefix("projects/_/buckets/")
        .ok_or_else(|| (Code::InvalidArgument, format!("no bucket's name: {name}")))
}

fn described(bucket: &str, name: &str, stored: &Stored) -> Object {
    Object {
        name: name.to_owned(),
        bucket: format!("projects/_/buckets/{bucket}"),
        generation: stored.generation,
        metageneration: 1,
        size: i64::try_from(stored.data.len()).unwrap_or(i64::MAX),
        content_type: stored.content_type.clone(),
        checksums: Some(Checksums {
            crc32c: Some(crc32c::crc32c(&stored.data)),
        }),
        metadata: stored.metadata.clone(),
    }
}

pub(super) fn list(shared: &Arc<Shared>, call: &Call) -> Answer {
    let request: ListRequest = message(call)?;
    let bucket = bucket(&request.parent)?;
    let size = usize::try_from(request.page_size)
        .ok()
        .filter(|size| *size > 0)
        .map_or(PAGE, |size| size.min(PAGE));
    let start = request.page_token.max(request.lexicographic_start);
    let objects = shared.objects();
    let mut found = objects.list(bucket, &request.prefix, start);
    let page = found
        .by_ref()
        .take(size)
        .map(|(name, stored)| described(bucket, name, stored))
        .collect();
    Ok(ListResponse {
        objects: page,
        next_page_token: found
            .next()
            .map(|(name, _)| name.clone())
            .unwrap_or_default(),
    }
    .encode_to_vec())
}

pub(super) fn get(shared: &Arc<Shared>, call: &Call) -> Answer {
    let request: GetRequest = message(call)?;
    let bucket = bucket(&request.bucket)?;
    let objects = shared.objects();
    let stored = objects
        .get(bucket, &request.object)
        .ok_or_else(|| missing(bucket, &request.object))?;
    Ok(described(bucket, &request.object, stored).encode_to_vec())
}

pub(super) fn delete(shared: &Arc<Shared>, call: &Call) -> Answer {
    let request: DeleteRequest = message(call)?;
    let bucket = bucket(&request.bucket)?;
    let mut objects = shared.objects();
    objects.delete(bucket, &request.object, request.if_generation_match)?;
    Ok(Vec::new())
}

pub(super) fn compose(shared: &Arc<Shared>, call: &Call) -> Answer {
    let request: ComposeRequest = message(call)?;
    let destination = request
        .destination
        .ok_or_else(|| (Code::InvalidArgument, "no destination".to_owned()))?;
    let bucket = bucket(&destination.bucket)?;
    if !(1..=32).contains(&request.sources.len()) {
        return Err((
            Code::InvalidArgument,
            "The number of source components provided must be from 1 to 32.".to_owned(),
        ));
    }
    let mut objects = shared.objects();
    let mut data = Vec::new();
    for source in &request.sources {
        let condition = source
            .conditions
            .as_ref()
            .and_then(|held| held.if_generation_match);
        objects.check(bucket, &source.name, condition)?;
        let stored = objects
            .get(bucket, &source.name)
            .filter(|stored| source.generation == 0 || source.generation == stored.generation)
            .ok_or_else(|| missing(bucket, &source.name))?;
        data.extend_from_slice(&stored.data);
    }
    let about = serde_json::json!({
        "contentType": destination.content_type,
        "metadata": destination.metadata,
    });
    let name = &destination.name;
    let stored = objects.put(
        bucket,
        name,
        request.if_generation_match,
        Bytes::from(data),
        &about,
    )?;
    Ok(described(bucket, name, stored).encode_to_vec())
}
