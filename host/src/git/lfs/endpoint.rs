//! Where the LFS server of a repository is, and by what right it is asked.

use std::collections::BTreeMap;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::{LfsError, Operation, secret_value};
use crate::git::fetch::Bare;
use crate::git::remote::Remote;
use crate::git::run::{RunError, Until};
use crate::git::url::Scheme;

/// What the server of a repository answers to `git-lfs-authenticate`.
#[derive(Debug, Deserialize)]
struct Leave {
    /// May bear a signature.
    href: SecretString,
    #[serde(default)]
    header: BTreeMap<String, SecretString>,
}

/// Not to be shown: its URL may bear a signature.
pub(super) struct Endpoint {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

impl Endpoint {
    /// Of the repository that was cloned from `remote`: below its URL with the task's token, or where and
    /// by what right its SSH server says.
    pub(super) async fn of(
        remote: &Remote,
        bare: &Bare,
        operation: Operation,
        until: &Until,
    ) -> Result<Self, LfsError> {
        match remote.url.scheme {
            Scheme::Https => Self::below(remote),
            Scheme::Ssh => {
                let path = remote.url.path_at_server();
                let command = format!("git-lfs-authenticate {path} {}", operation.name());
                let answer = remote.ask(bare, &command, until).await;
                Self::told(&answer.map_err(unauthenticated)?)
            }
        }
    }

    fn below(remote: &Remote) -> Result<Self, LfsError> {
        let mut url = remote.url.to_string();
        if !url.ends_with(".git") {
            url.push_str(".git");
        }
        url.push_str("/info/lfs");
        let mut headers = HeaderMap::new();
        if let Some(value) = remote.authorization().as_ref().and_then(secret_value) {
            headers.insert(AUTHORIZATION, value);
        }
        let url = Url::parse(&url).map_err(|_| no_server())?;
        Ok(Self { url, headers })
    }

    fn told(answer: &[u8]) -> Result<Self, LfsError> {
        let leave: Leave = serde_json::from_slice(answer).map_err(|_| no_server())?;
        let url = Url::parse(leave.href.expose_secret()).map_err(|_| no_server())?;
        let headers = headers(&leave.header)?;
        Ok(Self { url, headers })
    }

    /// The URL of one of the API's resources.
    pub(super) fn resource(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}/{name}", self.url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

/// Headers that a server told to send, without those that say how a body is framed: that is ours.
pub(super) fn headers(told: &BTreeMap<String, SecretString>) -> Result<HeaderMap, LfsError> {
    const OURS: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];
    let mut headers = HeaderMap::new();
    for (name, value) in told {
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let Some((name, value)) = name.zip(secret_value(value)) else {
            return Err(LfsError::told(
                "remote-failed",
                "The LFS server asks for a header that cannot be sent.",
            ));
        };
        headers.insert(name, value);
    }
    Ok(headers)
}

fn no_server() -> LfsError {
    LfsError::told(
        "remote-failed",
        "The repository's server names no LFS server: Git LFS may not be enabled there.",
    )
}

/// What the server said about it is for the log: it may hold anything.
fn unauthenticated(error: RunError) -> LfsError {
    match error {
        RunError::Failed { code, .. } => {
            tracing::info!(code, "git-lfs-authenticate failed");
            LfsError::told(
                "no-access",
                "The repository's SSH server gives no access to Git LFS by git-lfs-authenticate: it may \
                 not offer it, or sshKey has no access to it.",
            )
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_an_ssh_server_answers_is_taken_and_no_debug_output_shows_it() {
        let answer = br#"{"href": "https://lfs.example/a/b?signature=s3cr3t",
            "header": {"Authorization": "RemoteAuth s3cr3t", "Content-Length": "7"},
            "expires_in": 600}"#;
        let endpoint = Endpoint::told(answer).unwrap();
        assert_eq!(endpoint.headers.len(), 1);
        assert!(!format!("{:?}", endpoint.headers).contains("s3cr3t"));
        assert_eq!(
            endpoint.resource("objects/batch").as_str(),
            "https://lfs.example/a/b/objects/batch?signature=s3cr3t"
        );
        for wrong in ["", "{}", r#"{"href": "no url"}"#, "git-lfs: not found"] {
            assert!(Endpoint::told(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let wrong = br#"{"href": "https://h/", "header": {"A": "x\ny"}}"#;
        let refusal = Endpoint::told(wrong).err().unwrap().to_string();
        assert!(refusal.contains("cannot be sent"), "{refusal}");
    }
}
