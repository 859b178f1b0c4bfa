//! The operator's settings, as the manifest states them.

use serde::Deserialize;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub(crate) max_files: usize,
    pub(crate) max_total_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_files: 1000,
            max_total_bytes: 1 << 30,
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
}
