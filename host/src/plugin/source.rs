//! Where a component comes from, and its signatures with it: a file or a directory beside the manifest, a
//! server by HTTPS, an OCI registry, or the bucket.
//!
//! What comes from a server is pinned by its SHA-256, so it does not matter which server it was, how often
//! it redirected, or whether it is still there: what the bucket has under that digest is not fetched again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::about::{self, About};
use super::http::{HttpClient, HttpRequest};
use super::manifest::{digest, mistake};
use super::registry::{self, Reference};
use super::signature::{self, Claim, Signed};
use super::signed;
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

/// Begins a source that is in the bucket.
const BUCKET: &str = "bucket:";

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A component, or a directory with one.
    File(PathBuf),
    Url(Url),
    Registry(Box<Reference>),
    /// What the bucket has by this digest.
    Bucket(String),
}

/// What a source gave.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) bytes: Arc<[u8]>,
    /// Not verified.
    pub(super) signatures: Vec<Signed>,
    /// `sha256:…`, which signatures of an artifact are about.
    pub(super) manifest_digest: Option<String>,
    /// In directories and artifacts.
    pub(super) about: Option<About>,
    /// Why this is what was loaded last, and not what a registry has now.
    pub(super) away: Option<LoadError>,
}

impl From<Arc<[u8]>> for Fetched {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self {
            bytes,
            signatures: Vec::new(),
            manifest_digest: None,
            about: None,
            away: None,
        }
    }
}

impl Fetched {
    /// What its registry has for signatures of it.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let manifest = self.manifest_digest.as_deref();
        let claims = manifest.map(|digest| Claim::of_artifact(digest, self.signatures.clone()));
        claims.unwrap_or_default()
    }
}

/// What a source leads to is no plugin as it lies.
pub(super) fn layout_error(message: impl Into<String>) -> LoadError {
    LoadError::new("plugin-layout", message)
}

impl Source {
    /// Reads `source` of a manifest in `directory`.
    pub(super) fn parse(
        text: &str,
        directory: &Path,
        pinned: bool,
        registries: &config::Registries,
        outbound: &config::Outbound,
    ) -> Result<Self, LoadError> {
        if let Some(hex) = text.strip_prefix(BUCKET) {
            return Ok(Self::Bucket(digest(hex)?));
        }
        if text.starts_with(registry::SCHEME) {
            let reference = Reference::parse(text, registries, outbound)?;
            return Ok(Self::Registry(Box::new(reference)));
        }
        if text.is_empty() {
            return Err(mistake(
                "source is empty: name the component's file or directory, relative to the manifest, or its \
                 https:// or oci:// URL",
            ));
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::File(directory.join(text)));
        };
        if !matches!(scheme, "https" | "http") || text.len() > LONGEST {
            return Err(mistake(format!(
                "source: this version takes a path, which is relative to the manifest, an https:// URL of at \
                 most {LONGEST} bytes, oci://HOST/REPOSITORY:TAG or bucket:SHA256, and no `{scheme}://`"
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

    /// The files that it is made of, to be looked at for changes.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let Self::File(path) = self else {
            return Vec::new();
        };
        let mut files = vec![path.clone()];
        let mut component = Some(path.clone());
        if path.is_dir() {
            files.push(path.join(about::FILE));
            component = about::of_directory(path)
                .ok()
                .map(|(_, component)| component);
            files.extend(component.clone());
        }
        files.extend(component.as_deref().map(signed::file_beside));
        files
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
        format!("`{host}` does not give the {what}: {why}"),
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
