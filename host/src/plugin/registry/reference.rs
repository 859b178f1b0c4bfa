//! What `oci://HOST/REPOSITORY:TAG` and `oci://HOST/REPOSITORY@sha256:DIGEST` name.

use std::fmt;

use url::Url;

use crate::config;
use crate::outbound::ForPlugins;
use crate::plugin::manifest::mistake;
use crate::wasm::LoadError;

/// Begins a source that is in a registry.
pub(in crate::plugin) const SCHEME: &str = "oci://";
/// Bytes of a repository's name, and of a tag, by the OCI Distribution specification.
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

const FORM: &str = "write oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:DIGEST, such as \
                    oci://registry.example/acme/shell-guard:1.2.0";

/// An artifact of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plugin) struct Reference {
    /// As it stands in `plugins.registries`.
    pub(super) host: String,
    /// Of the registry.
    pub(super) base: Url,
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    /// Of the manifest, `sha256:…`. Where there is a tag as well, this one counts.
    pub(super) digest: Option<String>,
}

impl Reference {
    /// Reads a reference, with or without `oci://` before it, and judges whether its registry may ever be
    /// asked.
    pub(in crate::plugin) fn parse(
        text: &str,
        registries: &config::Registries,
        outbound: &config::Outbound,
    ) -> Result<Self, LoadError> {
        let wrong = |what: &str| mistake(format!("source {what}: {FORM}"));
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => {
                return Err(wrong(
                    "has no digest of 64 small hex digits behind `@sha256:`",
                ));
            }
            None => (rest, None),
        };
        let (host, path) = rest
            .split_once('/')
            .ok_or_else(|| wrong("names no repository"))?;
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path, None),
        };
        if !is_repository(repository) {
            return Err(wrong(
                "has a repository that no registry takes: small letters, digits and `.`, `_`, `-`, `/` between them",
            ));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("has a tag that no registry takes"));
        }
        if tag.is_none() && digest.is_none() {
            return Err(wrong("says neither tag nor digest"));
        }
        let host = host.to_ascii_lowercase();
        let plain = registries
            .get(&host)
            .is_some_and(|registry| registry.plain_http);
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}/"))
            .ok()
            .filter(|base| {
                base.path() == "/" && base.query().is_none() && base.fragment().is_none()
            })
            .ok_or_else(|| wrong("names no host"))?;
        ForPlugins::check(&base, outbound).map_err(|forbidden| {
            mistake(format!(
                "source can never be fetched: {forbidden} (outbound.private_addresses)"
            ))
        })?;
        Ok(Self {
            host,
            base,
            repository: repository.to_owned(),
            tag,
            digest,
        })
    }

    /// Which manifest of the repository: the digest, else the tag.
    pub(super) fn manifest(&self) -> &str {
        let said = self.digest.as_deref().or(self.tag.as_deref());
        said.unwrap_or_default()
    }

    /// The pinned manifest, where it is.
    pub(in crate::plugin) fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The same artifact, whatever becomes of the tag.
    pub(in crate::plugin) fn pinned(&self, digest: &str) -> Self {
        Self {
            digest: Some(digest.to_owned()),
            ..self.clone()
        }
    }

    /// An address below the repository.
    pub(super) fn place(&self, kind: &str, which: &str) -> Url {
        let mut place = self.base.clone();
        place.set_path(&format!("/v2/{}/{kind}/{which}", self.repository));
        place
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SCHEME}{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

/// `sha256:` and 64 small hex digits: what may become a part of an address or of an object's name.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

fn is_repository(name: &str) -> bool {
    let edge = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let part = |part: &str| {
        edge(part.bytes().next())
            && edge(part.bytes().next_back())
            && part.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
            })
    };
    name.len() <= LONGEST_NAME && name.split('/').all(part)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts = tag.bytes().next().is_some_and(word);
    starts
        && tag.len() <= LONGEST_TAG
        && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plugin::test_outbound;

    fn parse(text: &str) -> Result<Reference, LoadError> {
        let plain = config::Registry {
            plain_http: true,
            ..config::Registry::default()
        };
        let registries = [("127.0.0.1:5000".to_owned(), plain)].into();
        Reference::parse(text, &registries, &test_outbound())
    }

    #[test]
    fn a_reference_is_read_and_told_as_it_was_written() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in [
            "oci://registry.example/acme/shell-guard:1.2.0".to_owned(),
            format!("oci://registry.example:8443/a/b_c/d-e@{digest}"),
            format!("oci://registry.example/a:v1@{digest}"),
        ] {
            assert_eq!(parse(&text).unwrap().to_string(), text);
        }
        let here = parse("127.0.0.1:5000/a:1").unwrap();
        assert_eq!(
            here.place("manifests", here.manifest()).as_str(),
            "http://127.0.0.1:5000/v2/a/manifests/1"
        );
        let both = parse(&format!("registry.example/a:v1@{digest}")).unwrap();
        assert_eq!(both.manifest(), digest);
        assert_eq!(both.base.scheme(), "https");
    }

    #[test]
    fn what_no_registry_takes_is_refused() {
        for text in [
            "oci://registry.example",
            "oci://registry.example/",
            "oci://registry.example/a",
            "oci://registry.example/A:1",
            "oci://registry.example/a/../b:1",
            "oci://registry.example/a//b:1",
            "oci://registry.example/a:",
            "oci://registry.example/a:1?x",
            "oci://registry.example/a:1/b",
            "oci://registry.example/a@sha256:abc",
            "oci://registry.example/a@md5:00",
            "oci://user:pw@registry.example/a:1",
            "oci:///a:1",
            "oci://10.0.0.1/a:1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
