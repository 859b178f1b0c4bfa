//! One version of one secret, checked against its checksum.

use std::sync::Arc;

use google_cloud_gax::error::rpc::Code;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use secrecy::SecretString;
use tokio::sync::OnceCell;

use super::Unreadable;
use crate::config::{Google, SecretName};
use crate::google::{Failure, insist, placed, tried_once};

/// Of a secret, in bytes: as many as the service takes.
const LARGEST: usize = 64 * 1024;

/// Asks as the account of this process. Connects when it is asked first.
#[derive(Clone, Debug)]
pub struct SecretManager {
    google: Google,
    client: Arc<OnceCell<SecretManagerService>>,
}

impl SecretManager {
    /// The one of `[google]`.
    pub fn new(google: &Google) -> Self {
        Self {
            google: google.clone(),
            client: Arc::default(),
        }
    }

    /// The text of this version: UTF-8, not blank, at most 64 KiB.
    pub async fn read(&self, name: &SecretName) -> Result<SecretString, Unreadable> {
        let client = self.client.get_or_try_init(|| async {
            let builder = tried_once(placed(SecretManagerService::builder(), &self.google));
            builder.build().await
        });
        let client = client
            .await
            .map_err(|error| Unreadable::Failed(format!("{name}: Secret Manager: {error}")))?;
        insist(|| access(client, name))
            .await
            .map_err(|failure| unreadable(name, &failure))
    }
}

async fn access(client: &SecretManagerService, name: &SecretName) -> Result<SecretString, Failure> {
    let reply = client
        .access_secret_version()
        .set_name(name.as_str())
        .send()
        .await?;
    let payload = reply
        .payload
        .ok_or_else(|| Failure::passing("an answer without the secret"))?;
    if payload.data_crc32c != Some(i64::from(crc32c::crc32c(&payload.data))) {
        return Err(Failure::passing("it was damaged on its way"));
    }
    let refused = |words: String| Failure::Refused(Code::Unknown, words);
    if payload.data.len() > LARGEST {
        return Err(refused(format!("it is longer than {LARGEST} bytes")));
    }
    let text =
        std::str::from_utf8(&payload.data).map_err(|_| refused("it is no UTF-8".to_owned()))?;
    match text.trim() {
        "" => Err(refused("it is blank".to_owned())),
        _ => Ok(SecretString::from(text)),
    }
}

fn unreadable(name: &SecretName, failure: &Failure) -> Unreadable {
    let words = format!("{name}: {failure}{}", advice(failure));
    match failure {
        Failure::Refused(Code::PermissionDenied | Code::NotFound | Code::FailedPrecondition, _) => {
            Unreadable::Withdrawn(words)
        }
        _ => Unreadable::Failed(words),
    }
}

fn advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::Refused(Code::PermissionDenied | Code::Unauthenticated, _) => {
            "; grant roles/secretmanager.secretAccessor on it to the account of this service"
        }
        Failure::Refused(Code::NotFound, _) => "; make the secret, or add a version to it",
        Failure::Refused(Code::FailedPrecondition, _) => "; enable that version, or add one",
        _ => "",
    }
}
