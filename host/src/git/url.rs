//! Where a repository is: read from what callers write, and never handed to git in another form.

use std::fmt;

use url::Url;

/// By what a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Port 443 unless said otherwise.
    Https,
    /// Port 22 unless said otherwise.
    Ssh,
}

/// A repository's address without any credential: `https://host/path`, `ssh://user@host/path` or
/// `user@host:path`. Every part has been checked, so that none can be taken for an option, a command
/// or another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryUrl {
    /// How.
    pub scheme: Scheme,
    /// SSH only.
    user: String,
    /// A name or an address, in lower case; IPv6 without brackets.
    pub host: String,
    /// Where it is not the scheme's own.
    port: Option<u16>,
    /// With what stands between host and path: `/a/b` or `:a/b`.
    path: String,
}

/// What was expected; it never repeats what was written.
const EXPECTED: &str = "must be a repository by https://, ssh:// or user@host:path";

impl RepositoryUrl {
    /// Reads what a caller wrote.
    ///
    /// # Errors
    /// The end of a sentence that begins with the field's name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let sound = |text: &str| {
            !text.starts_with('-')
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"\\\"'`<>{}|^$".contains(&byte))
        };
        require(sound(text), EXPECTED)?;
        if text.contains("://") {
            Self::parse_url(text)
        } else {
            Self::parse_scp(text)
        }
    }

    fn parse_url(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "ssh" => Scheme::Ssh,
            _ => return Err(EXPECTED),
        };
        require(
            url.password().is_none(),
            "must not hold a password; send a token in gitToken",
        )?;
        require(
            scheme == Scheme::Ssh || url.username().is_empty(),
            "must not hold a token; send it in gitToken",
        )?;
        require(
            url.query().is_none() && url.fragment().is_none(),
            "must not hold a query or a fragment",
        )?;
        let user = match (scheme, url.username()) {
            (Scheme::Ssh, "") => "git",
            (_, user) => user,
        };
        require(scheme == Scheme::Https || is_word(user), EXPECTED)?;
        let host = url.host_str().ok_or(EXPECTED)?;
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        require(is_host(&host), EXPECTED)?;
        require(url.port() != Some(0), EXPECTED)?;
        let path = url.path();
        require(is_path(path.trim_start_matches('/')), EXPECTED)?;
        Ok(Self {
            scheme,
            user: user.to_owned(),
            host,
            port: url.port(),
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// `user@host:path`, as scp has it.
    fn parse_scp(text: &str) -> Result<Self, &'static str> {
        let (place, path) = text.split_once(':').ok_or(EXPECTED)?;
        let (user, host) = place.split_once('@').ok_or(EXPECTED)?;
        let host = host.to_ascii_lowercase();
        require(is_word(user) && is_host(&host), EXPECTED)?;
        require(is_path(path.trim_start_matches('/')), EXPECTED)?;
        Ok(Self {
            scheme: Scheme::Ssh,
            user: user.to_owned(),
            host,
            port: None,
            path: format!(":{}", path.trim_end_matches('/')),
        })
    }

    /// The same repository by SSH, as hosting services offer both: where a key is given, it is meant to
    /// be used.
    pub fn over_ssh(self) -> Self {
        match self.scheme {
            Scheme::Ssh => self,
            Scheme::Https => {
                let path = self.path.trim_start_matches('/');
                let path = path.strip_suffix(".git").unwrap_or(path);
                Self {
                    scheme: Scheme::Ssh,
                    user: "git".to_owned(),
                    // The port of the web server says nothing about that of the SSH server.
                    port: None,
                    path: format!(":{path}.git"),
                    host: self.host,
                }
            }
        }
    }

    /// The port that is dialled.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.scheme {
            Scheme::Https => 443,
            Scheme::Ssh => 22,
        })
    }

    /// Whom to be at which SSH server.
    pub fn account(&self) -> String {
        format!("{}@{}", self.user, self.host)
    }

    /// The path as `git-lfs` tells it to a server: without what stands between it and the host.
    pub fn path_at_server(&self) -> &str {
        self.path.get(1..).unwrap_or_default()
    }

    /// As `known_hosts` names the server.
    pub fn host_key_name(&self) -> String {
        match self.port() {
            22 => self.host.clone(),
            port => format!("[{}]:{port}", self.host),
        }
    }

    /// What `reference`, a URL in `.gitmodules` of this repository, leads to: another URL, or a path
    /// relative to this one.
    ///
    /// # Errors
    /// As for [`RepositoryUrl::parse`].
    pub fn join(&self, reference: &str) -> Result<Self, &'static str> {
        if !reference.starts_with("./") && !reference.starts_with("../") {
            return Self::parse(reference);
        }
        let (separator, path) = self.path.split_at_checked(1).ok_or(EXPECTED)?;
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        for part in reference.split('/') {
            match part {
                "." | "" => {}
                ".." => {
                    parts.pop().ok_or(EXPECTED)?;
                }
                part => parts.push(part),
            }
        }
        let path = parts.join("/");
        require(is_path(&path), EXPECTED)?;
        Ok(Self {
            path: format!("{separator}{path}"),
            ..self.clone()
        })
    }
}

/// As git takes it.
impl fmt::Display for RepositoryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        match (self.scheme, self.path.starts_with(':')) {
            (Scheme::Https, _) => write!(formatter, "https://{host}{port}{}", self.path),
            (Scheme::Ssh, true) => write!(formatter, "{}@{host}{}", self.user, self.path),
            (Scheme::Ssh, false) => {
                write!(formatter, "ssh://{}@{host}{port}{}", self.user, self.path)
            }
        }
    }
}

fn require(holds: bool, sentence: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(sentence) }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_host(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok() || is_word(text)
}

/// Not empty, no part that leads up, nothing that a shell at the other end would read as more.
fn is_path(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.split('/').all(|part| part != "..")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/._-~+@%,=".contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn again(text: &str) -> String {
        RepositoryUrl::parse(text).unwrap().to_string()
    }

    #[test]
    fn a_repository_is_written_as_git_takes_it() {
        for (written, taken) in [
            ("https://github.com/a/b.git", "https://github.com/a/b.git"),
            ("https://GitHub.com/a/b/", "https://github.com/a/b"),
            ("https://h:8443/a", "https://h:8443/a"),
            ("https://h:443/a", "https://h/a"),
            ("ssh://git@h:2222/a/b", "ssh://git@h:2222/a/b"),
            ("ssh://h/a/b", "ssh://git@h/a/b"),
            ("git@github.com:a/b.git", "git@github.com:a/b.git"),
            ("git@h:/srv/a.git", "git@h:/srv/a.git"),
            ("https://[::1]:8443/a", "https://[::1]:8443/a"),
            (
                "https://dev.azure.com/o/p/_git/r%20x",
                "https://dev.azure.com/o/p/_git/r%20x",
            ),
        ] {
            assert_eq!(again(written), taken);
        }
    }

    #[test]
    fn nothing_else_is_a_repository() {
        for wrong in [
            "ext::sh -c id",
            "file:///etc",
            "/srv/repo",
            "./x",
            "--upload-pack=x",
            "git@-oProxyCommand=x:a",
            "-oX@h:a",
            "ssh://-oProxyCommand=x/a",
            "ssh://git@h/-x",
            "ssh://git@h:22;id/a",
            "http://h/a",
            "https://user:password@host/a",
            "https://token@host/a",
            "git://host/a",
            "host:path",
            "git@host:-x",
            "git@host:a/../b",
            "ssh://",
            "https://h",
            "https://h/a?b=c",
            "https://h/a#b",
            "https://h/a\nb",
            "https://h/a b",
            "https://h/$(id)",
            "ssh://git@[fe80::1%25eth0]/a",
            "https://h:0/a",
        ] {
            assert!(RepositoryUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn with_a_key_a_web_address_becomes_one_of_ssh_on_any_host() {
        for (web, ssh) in [
            ("https://github.com/a/b", "git@github.com:a/b.git"),
            (
                "https://git.example.com/x/y/z.git/",
                "git@git.example.com:x/y/z.git",
            ),
            ("ssh://u@h:1/a", "ssh://u@h:1/a"),
        ] {
            let url = RepositoryUrl::parse(web).unwrap().over_ssh();
            assert_eq!(url.to_string(), ssh);
        }
    }

    #[test]
    fn a_submodule_is_found_relative_to_its_repository() {
        let base = |text: &str| RepositoryUrl::parse(text).unwrap();
        let joined = |from: &str, to: &str| base(from).join(to).map(|url| url.to_string());
        assert_eq!(
            joined("https://h/a/b.git", "../c.git").unwrap(),
            "https://h/a/c.git"
        );
        assert_eq!(joined("git@h:a/b.git", "../../x/c").unwrap(), "git@h:x/c");
        assert_eq!(joined("https://h/a/b", "./c").unwrap(), "https://h/a/b/c");
        assert_eq!(
            joined("https://h/a/b", "https://i/c").unwrap(),
            "https://i/c"
        );
        assert!(joined("https://h/a/b", "../../../c").is_err());
        assert!(joined("https://h/a/b", "ext::sh -c id").is_err());
        assert!(joined("https://h/a/b", "../../..").is_err());
    }

    #[test]
    fn a_server_is_known_by_its_name_and_where_it_matters_its_port() {
        let name = |text: &str| RepositoryUrl::parse(text).unwrap().host_key_name();
        assert_eq!(name("git@h:a"), "h");
        assert_eq!(name("ssh://git@h:2222/a"), "[h]:2222");
    }
}
