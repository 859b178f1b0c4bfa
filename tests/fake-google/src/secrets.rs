//! Secret Manager: what versions of secrets hold. `latest` is the newest version, whatever its state.

use std::collections::BTreeMap;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::kms::VersionState;
use crate::reply::{self, Body, Code};
use crate::server::{Call, Shared};

/// Versions by `projects/P/secrets/S`, from version 1.
#[derive(Debug, Default)]
pub(crate) struct Secrets(BTreeMap<String, Vec<(VersionState, Vec<u8>)>>);

impl Secrets {
    /// Its number.
    pub(crate) fn add(&mut self, secret: &str, data: &[u8]) -> usize {
        let versions = self.0.entry(secret.to_owned()).or_default();
        versions.push((VersionState::Enabled, data.to_owned()));
        versions.len()
    }

    pub(crate) fn set(&mut self, secret: &str, version: usize, state: VersionState) {
        let versions = self.0.entry(secret.to_owned()).or_default();
        if let Some(place) = version.checked_sub(1).and_then(|n| versions.get_mut(n)) {
            place.0 = state;
        }
    }
}

/// The secret's name and the version's.
fn target(call: &Call) -> Option<(&str, &str)> {
    let name = call.path().strip_prefix("/v1/")?.strip_suffix(":access")?;
    let (secret, version) = name.rsplit_once("/versions/")?;
    let parts: Vec<&str> = secret.split('/').collect();
    let is_secret = matches!(*parts, ["projects", project, "secrets", name]
        if !project.is_empty() && !name.is_empty());
    is_secret.then_some((secret, version))
}

/// What a call is to Secret Manager.
pub(crate) fn operation(call: &Call) -> Option<&'static str> {
    (call.method == hyper::Method::GET && target(call).is_some()).then_some("secrets.access")
}

/// Carries it out.
pub(crate) fn answer(shared: &Shared, call: &Call) -> Response<Body> {
    let Some((secret, version)) = target(call) else {
        return reply::error(Code::NotFound, "No such method.");
    };
    let secrets = shared.secrets();
    let versions = secrets.0.get(secret).map_or(&[][..], Vec::as_slice);
    let number = match version {
        "latest" => versions.len(),
        version => version.parse().unwrap_or(0),
    };
    let Some((state, data)) = number.checked_sub(1).and_then(|n| versions.get(n)) else {
        let message = format!("Secret [{secret}] not found or has no versions.");
        return reply::error(Code::NotFound, &message);
    };
    let name = format!("{secret}/versions/{number}");
    if *state != VersionState::Enabled {
        let state = state.name();
        return reply::precondition(&format!("Secret Version [{name}] is in {state} state."));
    }
    reply::json(&json!({
        "name": name,
        "payload": {
            "data": STANDARD.encode(data),
            "dataCrc32c": crc32c::crc32c(data).to_string(),
        },
    }))
}
