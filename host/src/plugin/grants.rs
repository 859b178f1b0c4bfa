//! What the operator granted to a plugin beside what its world always has: read from the manifest's
//! words, kept in the set by the same words, and asked at every call.

use url::{Origin, Url};

/// What a post-execution plugin can be granted, for those who wrote something else.
const KINDS: &str = "workspace, artifacts, git, http:https://HOST[:PORT], secret:NAME";
/// Hosts and secrets of one plugin.
const MOST: usize = 64;
/// Secrets of the request that no plugin may send anywhere: the model's credentials are the broker's
/// alone, and a private key is no header.
const WITHHELD: [&str; 3] = ["anthropicApiKey", "anthropicOAuthToken", "sshKey"];

/// What was granted to one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// To read the workspace.
    pub workspace: bool,
    /// To keep files.
    pub artifacts: bool,
    /// To commit and push.
    pub git: bool,
    hosts: Vec<Host>,
    secrets: Vec<String>,
}

/// Scheme, host and port, all of them exact.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    url: Url,
    origin: Origin,
}

impl Grants {
    /// Reads the words of a manifest or of a set.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, String> {
        let mut grants = Self::default();
        for word in words.iter().map(AsRef::as_ref) {
            match word.split_once(':') {
                None if word == "workspace" => grants.workspace = true,
                None if word == "artifacts" => grants.artifacts = true,
                None if word == "git" => grants.git = true,
                Some(("http", url)) => grants.hosts.push(host(word, url)?),
                Some(("secret", name)) => grants.secrets.push(secret(word, name)?),
                _ => {
                    return Err(format!(
                        "grant `{word}` does not exist in this version; these do: {KINDS}"
                    ));
                }
            }
        }
        if grants.hosts.len() > MOST || grants.secrets.len() > MOST {
            return Err(format!(
                "a plugin has at most {MOST} grants `http:` and as many `secret:`"
            ));
        }
        if let (Some(name), true) = (grants.secrets.first(), grants.hosts.is_empty()) {
            return Err(format!(
                "grant `secret:{name}` is of no use without a grant `http:https://HOST`: a plugin can \
                 only send a secret, never read it"
            ));
        }
        Ok(grants)
    }

    /// The same as words, in an order that does not depend on the manifest's.
    pub fn words(&self) -> Vec<String> {
        let single = [
            ("artifacts", self.artifacts),
            ("git", self.git),
            ("workspace", self.workspace),
        ];
        let single = single
            .into_iter()
            .filter(|(_, granted)| *granted)
            .map(|(word, _)| word.to_owned());
        let hosts = self
            .hosts
            .iter()
            .map(|host| format!("http:{}", host.origin.ascii_serialization()));
        let secrets = self.secrets.iter().map(|name| format!("secret:{name}"));
        let mut words: Vec<String> = single.chain(hosts).chain(secrets).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    /// Whether an interface of the contract that must be granted was.
    pub(crate) fn holds(&self, interface: &str) -> bool {
        match interface {
            "workspace" => self.workspace,
            "artifacts" => self.artifacts,
            "git" => self.git,
            "http" => !self.hosts.is_empty(),
            _ => false,
        }
    }

    /// The granted places, for whoever knows which addresses may be reached at all.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Url> {
        self.hosts.iter().map(|host| &host.url)
    }

    /// Whether requests may go to this place: scheme, host and port count, not the path.
    pub(super) fn permit_url(&self, url: &Url) -> bool {
        let origin = url.origin();
        self.hosts.iter().any(|host| host.origin == origin)
    }

    /// Whether this secret of the request may be sent.
    pub(super) fn permit_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|granted| granted == name)
    }
}

fn host(word: &str, text: &str) -> Result<Host, String> {
    let wrong = |why: &str| {
        Err(format!(
            "grant `{word}` {why}: write `http:https://HOST` or `http:https://HOST:PORT`"
        ))
    };
    let Ok(url) = Url::parse(text) else {
        return wrong("names no host");
    };
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        return wrong("names no host");
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return wrong("says more than a host");
    }
    if text.contains('*') {
        return wrong("has a `*`, and hosts are granted one by one");
    }
    let origin = url.origin();
    Ok(Host { url, origin })
}

fn secret(word: &str, name: &str) -> Result<String, String> {
    if WITHHELD.contains(&name) {
        return Err(format!(
            "grant `{word}`: no plugin can send {name}; `gitToken` and the names of \
             `environmentSecrets` can be granted"
        ));
    }
    if !is_secret_name(name) {
        return Err(format!(
            "grant `{word}` names no secret: write `secret:gitToken`, or a name of `environmentSecrets`"
        ));
    }
    Ok(name.to_owned())
}

/// As `environmentSecrets` has them.
pub(super) fn is_secret_name(name: &str) -> bool {
    let starts = name
        .bytes()
        .next()
        .is_some_and(|first| !first.is_ascii_digit());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    starts && name.len() <= 128 && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_are_read_and_written_in_one_order() {
        let grants = Grants::parse(&[
            "workspace",
            "secret:gitToken",
            "http:https://API.github.com/",
            "git",
            "http:https://git.example.com:8443",
            "http:http://127.0.0.1:9",
        ])
        .unwrap();
        let words = [
            "git",
            "http:http://127.0.0.1:9",
            "http:https://api.github.com",
            "http:https://git.example.com:8443",
            "secret:gitToken",
            "workspace",
        ];
        assert_eq!(grants.words(), words);
        assert_eq!(Grants::parse(&grants.words()).unwrap().words(), words);
        assert!(grants.holds("http") && grants.holds("git") && !grants.holds("artifacts"));
    }

    #[test]
    fn a_host_is_granted_exactly() {
        let grants = Grants::parse(&["http:https://api.github.com"]).unwrap();
        let permits = |url: &str| grants.permit_url(&Url::parse(url).unwrap());
        for url in [
            "https://api.github.com/repos",
            "https://API.GITHUB.COM:443/",
            "https://api.github.com?x=1",
        ] {
            assert!(permits(url), "{url}");
        }
        for url in [
            "http://api.github.com/",
            "https://api.github.com:8443/",
            "https://api.github.com./",
            "https://github.com/",
            "https://x.api.github.com/",
            "https://api.github.com.evil.example/",
            "https://evil.example/api.github.com",
            "https://evil.example/?api.github.com",
        ] {
            assert!(!permits(url), "{url}");
        }
    }

    #[test]
    fn what_is_no_grant_is_refused_with_what_is() {
        for (words, hint) in [
            (&["env"][..], "workspace, artifacts, git"),
            (&["network"], "secret:NAME"),
            (&["http"], "these do"),
            (&["http:"], "names no host"),
            (&["http:api.github.com"], "names no host"),
            (&["http:ftp://x"], "names no host"),
            (&["http:https://x/path"], "more than a host"),
            (&["http:https://x/?q"], "more than a host"),
            (&["http:https://u@x"], "more than a host"),
            (&["http:https://*.x"], "one by one"),
            (&["secret:gitToken"], "no use without"),
            (&["http:https://x", "secret:"], "names no secret"),
            (&["http:https://x", "secret:a b"], "names no secret"),
            (
                &["http:https://x", "secret:anthropicApiKey"],
                "no plugin can",
            ),
            (&["http:https://x", "secret:sshKey"], "no plugin can"),
        ] {
            let error = Grants::parse(words).unwrap_err();
            assert!(error.contains(hint), "{words:?}: {error}");
        }
    }
}
