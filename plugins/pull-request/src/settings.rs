//! The operator's settings, as the manifest states them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Repository;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// Which protocol a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// GitHub and GitHub Enterprise Server.
    Github,
    /// GitLab, wherever it is hosted.
    Gitlab,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) api: String,
}

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub(crate) hosts: BTreeMap<String, Server>,
    pub(crate) secret: String,
    pub(crate) action: String,
    pub(crate) body: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
            secret: "gitToken".to_owned(),
            action: "git".to_owned(),
            body: "Opened for the task `{taskId}`.".to_owned(),
        }
    }
}

impl Settings {
    /// Reads settings.
    ///
    /// # Errors
    /// What does not fit the schema.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("settings: {error}"))
    }

    /// Reads settings and checks what the schema cannot say.
    ///
    /// # Errors
    /// Names the member at fault.
    pub fn check(text: &str) -> Result<(), String> {
        let settings = Self::read(text)?;
        for (host, server) in &settings.hosts {
            let place = server
                .api
                .strip_prefix("https://")
                .or_else(|| server.api.strip_prefix("http://"));
            let unfit = |place: &str| {
                place.is_empty()
                    || place.ends_with('/')
                    || place.contains(|c: char| c.is_whitespace() || "?#@\\".contains(c))
            };
            if place.is_none_or(unfit) {
                return Err(format!(
                    "hosts.{host}.api: expected a URL without query and without a slash at its end, \
                     such as https://git.example.com/api/v4"
                ));
            }
            if host.contains('/') || host.to_ascii_lowercase() != *host {
                return Err(format!(
                    "hosts.{host}: expected the name of a host in lower case, with its port where that \
                     is not the usual one"
                ));
            }
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if settings.secret.is_empty() || !settings.secret.bytes().all(plain) {
            return Err("secret: expected the name of a secret, such as gitToken".to_owned());
        }
        Ok(())
    }

    /// The server of this repository: by host and port, else by host, else one that everybody knows.
    pub(crate) fn server(&self, repository: &Repository) -> Option<Server> {
        let host = repository.host.as_str();
        let with_port = repository.port.map(|port| format!("{host}:{port}"));
        let named = with_port
            .and_then(|name| self.hosts.get(&name))
            .or_else(|| self.hosts.get(host));
        let known = |kind, api: &str| {
            Some(Server {
                kind,
                api: api.to_owned(),
            })
        };
        match (named, host) {
            (Some(server), _) => Some(server.clone()),
            (None, "github.com") => known(Kind::Github, "https://api.github.com"),
            (None, "gitlab.com") => known(Kind::Gitlab, "https://gitlab.com/api/v4"),
            (None, _) => None,
        }
    }
}
