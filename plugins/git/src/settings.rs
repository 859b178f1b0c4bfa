//! The operator's settings, as the manifest states them.

use options::{Template, branch};
use patterns::Wildcard;
use serde::Deserialize;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub(crate) author_name: Option<String>,
    pub(crate) author_email: Option<String>,
    pub(crate) message: String,
    pub(crate) trailers: bool,
    pub(crate) protected: Vec<String>,
    pub(crate) new_branch: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            author_name: None,
            author_email: None,
            message: "Task execution {taskId}".to_owned(),
            trailers: true,
            protected: Vec::new(),
            new_branch: "gatehouse/{taskId}".to_owned(),
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
        if settings.author_name.is_some() != settings.author_email.is_some() {
            return Err("author_name and author_email: give both or neither".to_owned());
        }
        for (name, value) in [
            ("author_name", &settings.author_name),
            ("author_email", &settings.author_email),
        ] {
            let unfit = |text: &String| {
                text.trim().is_empty()
                    || text.contains(|c: char| c.is_control() || "<>".contains(c))
            };
            if value.as_ref().is_some_and(unfit) {
                return Err(format!("{name}: expected text without < > and line ends"));
            }
        }
        let template = Template::strict(&settings.new_branch)
            .map_err(|sentence| format!("new_branch: {sentence}"))?;
        let sample = template.sample();
        branch::check(&sample).map_err(|sentence| format!("new_branch: {sentence}"))?;
        if let Some(pattern) = settings.protecting(&sample) {
            return Err(format!("new_branch: protected[{pattern}] matches it"));
        }
        Ok(())
    }

    /// The place in `protected` of the pattern that matches, if one does.
    pub(crate) fn protecting(&self, branch: &str) -> Option<usize> {
        self.protected
            .iter()
            .position(|pattern| Wildcard::new(pattern).matches(branch))
    }
}
