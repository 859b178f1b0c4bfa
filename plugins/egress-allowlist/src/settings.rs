//! The operator's settings, as the manifest states them.

use serde::Deserialize;

use crate::address;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub(crate) hosts: Vec<String>,
    #[serde(default = "yes")]
    pub(crate) deny_unknown: bool,
    #[serde(default = "yes")]
    pub(crate) mcp: bool,
    #[serde(default)]
    pub(crate) registries: bool,
    #[serde(default = "tools")]
    pub(crate) tools: Vec<String>,
}

fn yes() -> bool {
    true
}

fn tools() -> Vec<String> {
    vec!["Bash".to_owned(), "Monitor".to_owned()]
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
    /// Names the member at fault, e.g. `hosts[1]: …`.
    pub fn check(text: &str) -> Result<(), String> {
        Self::read(text)?.entries().map(|_| ())
    }

    /// The hosts in the spelling in which they are compared.
    pub(crate) fn entries(&self) -> Result<Vec<String>, String> {
        let entries = self.hosts.iter().enumerate().map(|(place, text)| {
            address::entry(text).ok_or(format!(
                "hosts[{place}]: expected a host such as example.com, *.example.com or 192.0.2.1, without scheme and port"
            ))
        });
        entries.collect()
    }
}
