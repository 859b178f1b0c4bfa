//! The operator's settings, as the manifest states them.

use patterns::{PathPattern, url};
use serde::Deserialize;

use crate::repository;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// What the operator set; `settings.schema.json` documents each member. What is absent limits nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub(crate) max_prompt_bytes: Option<usize>,
    pub(crate) allowed_repositories: Option<Vec<String>>,
    pub(crate) allow_no_repository: bool,
    pub(crate) allowed_models: Option<Vec<String>>,
    pub(crate) max_turns: Option<u32>,
    pub(crate) max_timeout_minutes: Option<u32>,
    pub(crate) max_budget_usd: Option<f64>,
    pub(crate) forbidden_secret_names: Vec<String>,
    pub(crate) forbidden_permission_modes: Vec<String>,
    pub(crate) allowed_callback_hosts: Option<Vec<String>>,
    pub(crate) clamp: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_prompt_bytes: None,
            allowed_repositories: None,
            allow_no_repository: true,
            allowed_models: None,
            max_turns: None,
            max_timeout_minutes: None,
            max_budget_usd: None,
            forbidden_secret_names: Vec::new(),
            forbidden_permission_modes: Vec::new(),
            allowed_callback_hosts: None,
            clamp: false,
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
    /// Names the member at fault, e.g. `allowed_repositories[1]: …`.
    pub fn check(text: &str) -> Result<(), String> {
        let settings = Self::read(text)?;
        settings.repositories()?;
        for (place, host) in settings.allowed_callback_hosts.iter().flatten().enumerate() {
            let name = host.strip_prefix("*.").unwrap_or(host);
            if url::plain_host(name).is_none() {
                return Err(format!(
                    "allowed_callback_hosts[{place}]: expected a host such as example.com or *.example.com"
                ));
            }
        }
        Ok(())
    }

    /// The patterns of repositories; none where they are not limited.
    pub(crate) fn repositories(&self) -> Result<Option<Vec<PathPattern>>, String> {
        let Some(texts) = &self.allowed_repositories else {
            return Ok(None);
        };
        let patterns = texts.iter().enumerate().map(|(place, text)| {
            repository::pattern(text)
                .map_err(|error| format!("allowed_repositories[{place}]: {error}"))
        });
        patterns.collect::<Result<_, _>>().map(Some)
    }
}
