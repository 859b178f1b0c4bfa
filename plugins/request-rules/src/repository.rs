//! Repositories as `host/path`, whichever way they are named.

use patterns::{PathPattern, segments, url};

/// Schemes and the ports that go without saying.
const SCHEMES: [(&str, &str); 4] = [
    ("https", "443"),
    ("http", "80"),
    ("ssh", "22"),
    ("git", "9418"),
];

/// `host/path` of a repository named as `https://host/path.git`, `ssh://git@host/path` or
/// `git@host:path`: the host in lower case, without user, `.git` and the scheme's own port.
///
/// None where git and others could take it differently: more than one `@`, escapes, backslashes,
/// white space, `.` or `..`, a query, another scheme, a local path.
pub(crate) fn normal(repository: &str) -> Option<String> {
    let strange =
        |c: char| c.is_whitespace() || c.is_control() || "\\%?#'\"`$*[]{}|;&<>".contains(c);
    if repository.contains(strange) || repository.len() > 2048 {
        return None;
    }
    let (authority, path, own_port) = match repository.split_once("://") {
        Some((scheme, rest)) => {
            let (_, port) = SCHEMES
                .iter()
                .find(|(known, _)| scheme.eq_ignore_ascii_case(known))?;
            let (authority, path) = rest.split_once('/')?;
            (authority, path, Some(*port))
        }
        None => {
            let (authority, path) = repository.split_once(':')?;
            (authority, path.strip_prefix('/').unwrap_or(path), None)
        }
    };
    if authority.contains('/') {
        return None;
    }
    let host = match authority.split_once('@') {
        Some((user, host)) if !user.is_empty() && !user.starts_with('-') => host,
        Some(_) => return None,
        None => authority,
    };
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let name = url::plain_host(name)?;
    let host = match port.filter(|port| Some(*port) != own_port) {
        Some(port) if !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()) => {
            format!("{name}:{port}")
        }
        Some(_) => return None,
        None => name,
    };

    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_suffix(".git").unwrap_or(path);
    let mut names = path.split('/');
    if names.any(|name| name.is_empty() || name.starts_with('-') || matches!(name, "." | "..")) {
        return None;
    }
    Some(format!("{host}/{path}"))
}

/// A pattern of such names; its host matches in any case.
pub(crate) fn pattern(text: &str) -> Result<PathPattern, String> {
    let (host, path) = text
        .split_once('/')
        .ok_or("expected host/path such as github.com/acme/*")?;
    if host.is_empty() || text.contains("://") || host.contains('@') {
        return Err("expected host/path such as github.com/acme/*, without scheme and user".into());
    }
    let path = path.strip_suffix(".git").unwrap_or(path);
    PathPattern::new(&format!("{}/{path}", host.to_ascii_lowercase()))
}

/// Whether a repository's name is one of those.
pub(crate) fn fits(patterns: &[PathPattern], name: &str) -> bool {
    let names = segments(name);
    patterns.iter().any(|pattern| pattern.matches(&names))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_way_to_name_a_repository_gives_the_same_name() {
        for way in [
            "https://github.com/acme/app",
            "https://github.com/acme/app.git",
            "https://GitHub.com:443/acme/app/",
            "https://x-token:abc@github.com/acme/app.git",
            "ssh://git@github.com/acme/app.git",
            "ssh://git@github.com:22/acme/app",
            "git@github.com:acme/app.git",
            "git@GITHUB.com:/acme/app",
            "github.com:acme/app",
        ] {
            assert_eq!(normal(way).as_deref(), Some("github.com/acme/app"), "{way}");
        }
        assert_eq!(
            normal("https://git.test:8443/a/b").as_deref(),
            Some("git.test:8443/a/b")
        );
    }

    #[test]
    fn what_could_be_taken_differently_has_no_name() {
        for way in [
            "https://github.com@evil.test@github.com/acme/app",
            "https://evil.test\\@github.com/acme/app",
            "https://github.com%2facme@evil.test/x",
            "https://github.com/acme/../evil/app",
            "https://github.com/acme//app",
            "https://github.com/acme/app?x=/y",
            "https://github.com/acme/app#/y",
            "file:///etc/passwd",
            "/srv/repo",
            "ext::sh -c id",
            "git@-oProxyCommand=id:acme/app",
            "-u@github.com:acme/app",
            "ssh://-oProxyCommand=id/acme",
            "github.com/acme/app",
            "https://github.com",
            "https://github.com/",
            "https://[::1]/acme/app",
            "git@github.com/x:acme/app",
        ] {
            assert_eq!(normal(way), None, "{way}");
        }
    }

    #[test]
    fn the_host_in_the_user_part_is_not_the_host() {
        let patterns = [pattern("github.com/acme/*").unwrap()];
        for way in [
            "https://github.com@evil.test/acme/app",
            "github.com@evil.test:acme/app",
            "https://github.com:x@evil.test/acme/app",
        ] {
            assert!(!fits(&patterns, &normal(way).unwrap()), "{way}");
        }
    }

    #[test]
    fn a_star_is_one_name_and_hosts_match_in_any_case() {
        let patterns = [
            pattern("GitHub.com/acme/*").unwrap(),
            pattern("gitlab.test/group/**").unwrap(),
        ];
        assert!(fits(&patterns, "github.com/acme/app"));
        assert!(!fits(&patterns, "github.com/acme/app/more"));
        assert!(!fits(&patterns, "github.com/acme-evil/app"));
        assert!(fits(&patterns, "gitlab.test/group/a/b"));
    }
}
