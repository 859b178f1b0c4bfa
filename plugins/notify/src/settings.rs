//! What the operator set.

use serde::Deserialize;

use crate::template::Template;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    url: String,
    #[serde(default = "text")]
    text: String,
    pub(crate) secret: Option<String>,
}

fn text() -> String {
    "Task {taskId}: {status} {reason}".to_owned()
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
            "expected no options: where and what is told is the operator's to say".to_owned()
        })
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
        if !settings.url.starts_with("https://") && !settings.url.starts_with("http://") {
            return Err("url: expected the webhook's URL, whose host is granted by `http:`".into());
        }
        if settings
            .secret
            .as_ref()
            .is_some_and(|name| name.is_empty() || name.contains(['[', ']', ':']))
        {
            return Err(
                "secret: expected the name of a secret that is granted by `secret:`".into(),
            );
        }
        settings.template().map(|_| ())
    }

    /// Where to.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn template(&self) -> Result<Template, String> {
        Template::read(&self.text).map_err(|error| format!("text: {error}"))
    }
}
