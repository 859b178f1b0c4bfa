//! What the operator set, and what a caller asks for.

use patterns::{PathPattern, Wildcard};
use serde::Deserialize;

use crate::forms::RULES;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub(crate) files: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) off: Vec<String>,
    pub(crate) entropy: bool,
    pub(crate) allow: Vec<String>,
    pub(crate) allow_fingerprints: Vec<String>,
    pub(crate) fail_on_finding: bool,
    pub(crate) max_findings: usize,
    pub(crate) max_file_bytes: u64,
    pub(crate) max_total_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            files: vec!["**".to_owned()],
            exclude: Vec::new(),
            off: Vec::new(),
            entropy: false,
            allow: Vec::new(),
            allow_fingerprints: Vec::new(),
            fail_on_finding: true,
            max_findings: 100,
            max_file_bytes: 16 << 20,
            max_total_bytes: 512 << 20,
        }
    }
}

/// What a caller asks for: nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {}

impl Options {
    /// Reads options.
    ///
    /// # Errors
    /// There are some.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|_| {
            "expected no options: what is looked at is the operator's to say".to_owned()
        })
    }
}

/// [`Settings`] with every pattern read.
pub(crate) struct Patterns {
    pub(crate) exclude: Vec<PathPattern>,
    pub(crate) allow: Vec<Wildcard>,
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
    /// Names the member at fault, e.g. `off[1]: …`.
    pub fn check(text: &str) -> Result<(), String> {
        let settings = Self::read(text)?;
        if let Some((place, _)) = settings
            .off
            .iter()
            .enumerate()
            .find(|(_, rule)| !RULES.contains(&rule.as_str()))
        {
            return Err(format!(
                "off[{place}]: expected one of {}",
                RULES.join(", ")
            ));
        }
        let path = |path: &String| {
            path.is_empty() || path.starts_with('/') || path.split('/').any(|name| name == "..")
        };
        if let Some(place) = settings.files.iter().position(path) {
            return Err(format!(
                "files[{place}]: expected a pattern relative to the workspace, without `..`"
            ));
        }
        settings.patterns().map(|_| ())
    }

    pub(crate) fn patterns(&self) -> Result<Patterns, String> {
        let exclude = self.exclude.iter().enumerate().map(|(place, text)| {
            PathPattern::new(text).map_err(|error| format!("exclude[{place}]: {error}"))
        });
        Ok(Patterns {
            exclude: exclude.collect::<Result<_, _>>()?,
            allow: self.allow.iter().map(|text| Wildcard::new(text)).collect(),
        })
    }
}
