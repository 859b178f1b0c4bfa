//! Which project a `gitRepo` names.

/// A project of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// In lower case.
    pub host: String,
    /// Of HTTPS, where it is not the usual one.
    pub port: Option<u16>,
    /// Its path, at least two names: owner, groups, project.
    pub path: Vec<String>,
}

impl Repository {
    /// Reads `https://…`, `ssh://…` or `user@host:path`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (authority, path, https) = if let Some(rest) = text.strip_prefix("https://") {
            let (authority, path) = rest.split_once('/')?;
            (authority, path, true)
        } else if let Some(rest) = text.strip_prefix("ssh://") {
            let (authority, path) = rest.split_once('/')?;
            (authority, path, false)
        } else {
            let (authority, path) = text.split_once(':')?;
            (authority, path, false)
        };
        let address = authority
            .rsplit_once('@')
            .map_or(authority, |(_user, address)| address);
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, Some(port.parse().ok()?)),
            _ => (address, None),
        };
        if host.is_empty() || host.contains('/') {
            return None;
        }
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        let fine = |name: &String| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-~".contains(&byte);
            !matches!(name.as_str(), "" | "." | "..") && name.bytes().all(allowed)
        };
        (path.len() >= 2 && path.iter().all(fine)).then(|| Self {
            host: host.to_ascii_lowercase(),
            // The port of SSH says nothing of where the API is.
            port: port.filter(|port| https && *port != 443),
            path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Repository;

    #[test]
    fn every_way_to_write_a_repository_names_the_same_project() {
        for text in [
            "https://github.com/acme/app.git",
            "https://GitHub.com:443/acme/app/",
            "ssh://git@github.com/acme/app.git",
            "ssh://git@github.com:22/acme/app",
            "git@github.com:acme/app.git",
            "git@github.com:/acme/app",
        ] {
            let Some(found) = Repository::parse(text) else {
                unreachable!("{text}")
            };
            assert_eq!(found.host, "github.com", "{text}");
            assert_eq!(
                (found.port, found.path.join("/").as_str()),
                (None, "acme/app")
            );
        }
        let groups = Repository::parse("https://git.example.com:8443/a/b/c.git");
        let groups = groups.map(|found| (found.port, found.path.join("/")));
        assert_eq!(groups, Some((Some(8443), "a/b/c".to_owned())));
    }

    #[test]
    fn what_is_no_project_is_none() {
        for text in [
            "",
            "https://github.com",
            "https://github.com/app",
            "https://github.com/a/../b",
            "https://github.com/a//b",
            "https://github.com/a/b?c",
            "https://github.com/a%2f/b",
            "github.com/acme/app",
            "https://host:x/a/b",
        ] {
            assert_eq!(Repository::parse(text), None, "{text}");
        }
    }
}
