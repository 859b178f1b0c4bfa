//! Where a component comes from, and its signatures with it: a file beside the manifest, or a server by HTTPS.
//!
//! What comes from a server is pinned by its SHA-256, so it does not matter which server it was, how often
//! it redirected, or whether it is still there: what the bucket has under that digest is not fetched again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::http::{HttpClient, HttpRequest};
use super::manifest::mistake;
use super::signature::{self, Claim};
use crate::config;
use crate::outbound::ForPlugins;
use crate::wasm::LoadError;

/// For one answer, from connecting to its last byte.
const TIME: Duration = Duration::from_secs(60);
/// Downloads are often redirected: to a mirror, to where releases are stored.
const REDIRECTS: usize = 5;
/// Bytes of an answer's headers, beside the component.
const HEADERS: u64 = 64 << 10;
/// Bytes of a URL in a manifest.
const LONGEST: usize = 2048;

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    Url(Url),
}

impl Source {
    /// Reads `source` of a manifest in `directory`.
    pub(super) fn parse(
        text: &str,
        directory: &Path,
        pinned: bool,
        outbound: &config::Outbound,
    ) -> Result<Self, LoadError> {
        if text.is_empty() {
            return Err(mistake(
                "source is empty: name the component's file, relative to the manifest, or its https:// URL",
            ));
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::File(directory.join(text)));
        };
        if !matches!(scheme, "https" | "http") || text.len() > LONGEST {
            return Err(mistake(format!(
                "source: this version takes a path, which is relative to the manifest, or an https:// URL \
                 of at most {LONGEST} bytes, and no `{scheme}://`"
            )));
        }
        let url = Url::parse(text).map_err(|_| mistake("source is no URL"))?;
        ForPlugins::check(&url, outbound).map_err(|forbidden| {
            mistake(format!(
                "source can never be fetched: {forbidden} (outbound.private_addresses)"
            ))
        })?;
        if !pinned {
            return Err(mistake(
                "source is a URL, so `sha256` has to say what is expected there: `sha256sum` prints it",
            ));
        }
        Ok(Self::Url(url))
    }

    /// The file, where it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Url(_) => None,
        }
    }
}

/// Fetches a component of at most `most` bytes.
pub(super) async fn fetch(
    client: &dyn HttpClient,
    outbound: &config::Outbound,
    url: &Url,
    most: u64,
) -> Result<Vec<u8>, LoadError> {
    let host = url.host_str().unwrap_or_default();
    // To ask again would be of no use.
    let too_large = || {
        LoadError::new(
            "plugin-too-large",
            format!("`{host}` gives more than {most} bytes (plugins.max_component_size)"),
        )
    };
    match get(client, outbound, url, most, "component").await? {
        Answer::Body(bytes) => Ok(bytes),
        Answer::TooLarge => Err(too_large()),
        Answer::Status(status) => Err(away(url, "component", format!("it answers {status}"))),
    }
}

/// Fetches what lies beside a component as `.sig`; none where nothing does.
pub(super) async fn fetch_signatures(
    client: &dyn HttpClient,
    outbound: &config::Outbound,
    component: &Url,
) -> Result<Vec<Claim>, LoadError> {
    let mut url = component.clone();
    url.set_path(&format!("{}.sig", component.path()));
    let shown = url.path();
    match get(client, outbound, &url, signature::FILE, "signatures").await? {
        Answer::Body(bytes) => Claim::detached(&bytes, shown),
        Answer::TooLarge => Err(LoadError::new(
            "plugin-signature-refused",
            format!("`{shown}` has more than {} bytes", signature::FILE),
        )),
        // 403 is what object storage says of an object that is not there.
        Answer::Status(403 | 404 | 410) => Ok(Vec::new()),
        Answer::Status(status) => Err(away(&url, "signatures", format!("it answers {status}"))),
    }
}

/// What a server answers in the end.
enum Answer {
    Body(Vec<u8>),
    TooLarge,
    /// Neither a success nor a redirect.
    Status(u16),
}

fn away(url: &Url, what: &str, why: String) -> LoadError {
    let host = url.host_str().unwrap_or_default();
    LoadError::new(
        "plugin-source-unreachable",
        format!("`{host}` does not give the {what}: {why}. It is asked again"),
    )
}

/// Each place that a server redirects to is judged like the first one.
async fn get(
    client: &dyn HttpClient,
    outbound: &config::Outbound,
    url: &Url,
    most: u64,
    what: &str,
) -> Result<Answer, LoadError> {
    let away = |why: String| away(url, what, why);
    let mut place = url.clone();
    for _ in 0..=REDIRECTS {
        let request = HttpRequest {
            method: "GET",
            url: place.clone(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: TIME,
        };
        let answer = match client.send(request, most.saturating_add(HEADERS)).await {
            Ok(answer) => answer,
            Err(failure) if failure.code == "answer-too-large" => return Ok(Answer::TooLarge),
            Err(failure) => return Err(away(failure.message)),
        };
        match answer.status {
            200 if answer.body.len() as u64 > most => return Ok(Answer::TooLarge),
            200 => return Ok(Answer::Body(answer.body)),
            301 | 302 | 303 | 307 | 308 => {
                let to = answer.headers.iter().find(|(name, _)| name == "location");
                let to = to.and_then(|(_, to)| place.join(to).ok());
                place = to.ok_or_else(|| away("it redirects to nowhere".to_owned()))?;
                ForPlugins::check(&place, outbound).map_err(|forbidden| {
                    away(format!("it redirects where nobody may go: {forbidden}"))
                })?;
            }
            status => return Ok(Answer::Status(status)),
        }
    }
    Err(away(format!("it redirects more than {REDIRECTS} times")))
}
