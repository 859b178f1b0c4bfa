//! Writing (`uploadType=multipart` and `resumable`) and reading (`alt=media`) over JSON.

use std::sync::Arc;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::objects::{Refused, Session, Stored, missing};
use crate::reply::{self, Body, Code};
use crate::server::{Call, Shared};

fn checksum(data: &[u8]) -> String {
    STANDARD.encode(crc32c::crc32c(data).to_be_bytes())
}

fn refused((code, message): Refused) -> Response<Body> {
    reply::error(code, &message)
}

fn invalid(message: &str) -> Refused {
    (Code::InvalidArgument, message.to_owned())
}

fn described(bucket: &str, name: &str, stored: &Stored) -> Value {
    json!({
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "generation": stored.generation.to_string(),
        "metageneration": "1",
        "contentType": stored.content_type,
        "storageClass": "STANDARD",
        "size": stored.data.len().to_string(),
        "crc32c": checksum(&stored.data),
        "etag": format!("e{}", stored.generation),
        "metadata": stored.metadata,
    })
}

fn condition(call: &Call) -> Option<i64> {
    call.query("ifGenerationMatch")?.parse().ok()
}

fn bucket(call: &Call) -> Option<String> {
    let rest = call.path().strip_prefix("/upload/storage/v1/b/")?;
    Some(rest.strip_suffix("/o")?.to_owned())
}

/// Keeps the object if the checksum that came with it is its own.
fn keep(
    shared: &Shared,
    place: (&str, &str),
    condition: Option<i64>,
    data: Bytes,
    about: &Value,
    checksums: &Value,
) -> Result<Value, Refused> {
    let own = checksum(&data);
    for claimed in [about, checksums] {
        let claimed = claimed.get("crc32c").and_then(Value::as_str);
        if claimed.is_some_and(|claimed| claimed != own) {
            return Err(invalid("Provided CRC32C doesn't match calculated CRC32C."));
        }
    }
    let (bucket, name) = place;
    let mut objects = shared.objects();
    let stored = objects.put(bucket, name, condition, data, about)?;
    Ok(described(bucket, name, stored))
}

/// `uploadType=multipart`: what is said of it, its content, and its checksums in the end or the beginning.
pub(super) fn insert(shared: &Arc<Shared>, call: &Call) -> Response<Body> {
    let insert = || {
        let bucket = bucket(call).ok_or_else(|| invalid("no bucket"))?;
        let name = call.query("name").ok_or_else(|| invalid("no name"))?;
        let mut parts = parts(call).ok_or_else(|| invalid("Malformed multipart body."))?;
        if !(2..=3).contains(&parts.len()) {
            return Err(invalid("Malformed multipart body."));
        }
        let checksums = if parts.len() == 3 { parts.pop() } else { None };
        let (Some(data), Some(about)) = (parts.pop(), parts.pop()) else {
            return Err(invalid("Malformed multipart body."));
        };
        let read = |part: &Bytes| serde_json::from_slice(part).map_err(|_| invalid("Parse Error"));
        let about: Value = read(&about)?;
        let checksums = checksums.as_ref().map_or(Ok(Value::Null), read)?;
        keep(
            shared,
            (&bucket, &name),
            condition(call),
            data,
            &about,
            &checksums,
        )
    };
    insert().map_or_else(refused, |object| reply::json(&object))
}

/// The bodies of the parts of a `multipart/related`.
fn parts(call: &Call) -> Option<Vec<Bytes>> {
    let (_, boundary) = call.header("content-type")?.split_once("boundary=")?;
    let mark = format!("--{}", boundary.trim_matches('"'));
    let find = |from: usize, text: &[u8]| {
        call.body
            .get(from..)?
            .windows(text.len())
            .position(|window| window == text)
            .map(|at| from + at)
    };
    let mut parts = Vec::new();
    let mut at = find(0, mark.as_bytes())? + mark.len();
    while call.body.get(at..at + 2)? != b"--" {
        let start = find(at, b"\r\n\r\n")? + 4;
        let end = find(start, format!("\r\n{mark}").as_bytes())?;
        parts.push(call.body.slice(start..end));
        at = end + 2 + mark.len();
    }
    Some(parts)
}

/// `uploadType=resumable`, the beginning.
pub(super) fn start(shared: &Arc<Shared>, call: &Call) -> Response<Body> {
    let start = || {
        let session = Session {
            bucket: bucket(call).ok_or_else(|| invalid("no bucket"))?,
            name: call.query("name").ok_or_else(|| invalid("no name"))?,
            condition: condition(call),
            about: serde_json::from_slice(&call.body).unwrap_or(Value::Null),
            ..Session::default()
        };
        let mut objects = shared.objects();
        objects.check(&session.bucket, &session.name, session.condition)?;
        let id = format!("session-{}", objects.sessions.len() + 1);
        let place = format!(
            "http://{}/upload/storage/v1/b/{}/o?uploadType=resumable&upload_id={id}",
            shared.address, session.bucket
        );
        objects.sessions.insert(id, session);
        Ok(place)
    };
    match start() {
        Err(why) => refused(why),
        Ok(place) => {
            let mut response = reply::json(&json!({}));
            if let Ok(place) = HeaderValue::from_str(&place) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            response
        }
    }
}

/// A piece of it, or the question how far it came.
pub(super) fn upload(shared: &Arc<Shared>, call: &Call) -> Response<Body> {
    let Some(id) = call.query("upload_id") else {
        return refused(invalid("no upload_id"));
    };
    let range = call.header("content-range").unwrap_or_default();
    let Some((piece, total)) = range
        .strip_prefix("bytes ")
        .and_then(|text| text.split_once('/'))
    else {
        return refused(invalid("no Content-Range"));
    };
    let mut objects = shared.objects();
    let Some(session) = objects.sessions.get_mut(&id) else {
        return refused((Code::NotFound, "No such upload.".to_owned()));
    };
    if let Some(done) = &session.done {
        return reply::json(done);
    }
    if let Some((first, last)) = piece.split_once('-') {
        if first.parse::<usize>().ok() != Some(session.data.len()) {
            return refused(invalid("Invalid request. The piece is not the next one."));
        }
        // "0-*/*" is everything; a piece that came short counts as far as it came.
        let _ = last;
        session.data.extend_from_slice(&call.body);
    }
    let whole = piece.ends_with("-*") || total.parse::<usize>().ok() == Some(session.data.len());
    if !whole {
        let mut response = Response::new(reply::full(Bytes::new()));
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        if let Some(last) = session.data.len().checked_sub(1)
            && let Ok(range) = HeaderValue::from_str(&format!("bytes=0-{last}"))
        {
            response.headers_mut().insert(header::RANGE, range);
        }
        return response;
    }
    let session = session.clone();
    drop(objects);
    let hash = call
        .header("x-goog-hash")
        .and_then(|text| text.strip_prefix("crc32c="));
    let kept = keep(
        shared,
        (&session.bucket, &session.name),
        session.condition,
        Bytes::from(session.data),
        &session.about,
        &json!({"crc32c": hash}),
    );
    match kept {
        Err(why) => refused(why),
        Ok(object) => {
            if let Some(session) = shared.objects().sessions.get_mut(&id) {
                session.data = Vec::new();
                session.done = Some(object.clone());
            }
            reply::json(&object)
        }
    }
}

/// `alt=media`, of a whole object or from a byte on.
pub(super) fn read(shared: &Arc<Shared>, call: &Call) -> Response<Body> {
    let place = call
        .path()
        .strip_prefix("/storage/v1/b/")
        .and_then(|rest| rest.split_once("/o/"));
    let Some((bucket, name)) = place else {
        return refused(invalid("no object"));
    };
    let name = decoded(name);
    let objects = shared.objects();
    let generation = call
        .query("generation")
        .and_then(|text| text.parse::<i64>().ok());
    let Some(stored) = objects
        .get(bucket, &name)
        .filter(|stored| generation.is_none_or(|wanted| wanted == stored.generation))
    else {
        return refused(missing(bucket, &name));
    };
    let size = stored.data.len();
    let from = call
        .header("range")
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
        .and_then(|(from, _)| from.parse::<usize>().ok());
    if from.is_some_and(|from| from >= size) {
        let mut response = reply::error(Code::InvalidArgument, "Requested range not satisfiable");
        *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        return response;
    }
    let from_byte = from.unwrap_or_default();
    let mut response = Response::new(reply::full(stored.data.slice(from_byte..)));
    let mut headers = vec![
        ("content-type", stored.content_type.clone()),
        ("content-length", (size - from_byte).to_string()),
        ("x-goog-generation", stored.generation.to_string()),
        ("x-goog-metageneration", "1".to_owned()),
        ("x-goog-stored-content-length", size.to_string()),
        ("x-goog-stored-content-encoding", "identity".to_owned()),
        ("x-goog-storage-class", "STANDARD".to_owned()),
        ("x-goog-hash", format!("crc32c={}", checksum(&stored.data))),
    ];
    if from.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        headers.push((
            "content-range",
            format!("bytes {from_byte}-{}/{size}", size - 1),
        ));
    }
    let own = headers
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    let metadata = stored.metadata.iter();
    let metadata = metadata.map(|(key, value)| (format!("x-goog-meta-{key}"), value.clone()));
    for (key, value) in own.chain(metadata) {
        if let (Ok(key), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(key, value);
        }
    }
    response
}

/// A part of a path without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
