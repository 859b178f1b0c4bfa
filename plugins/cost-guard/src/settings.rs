//! The operator's settings, as the manifest states them.

use serde::Deserialize;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub(crate) rules: Vec<Rule>,
    #[serde(default)]
    pub(crate) mode: Mode,
    #[serde(default)]
    pub(crate) other_callers: OtherCallers,
}

/// What holds for some callers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) callers: Vec<String>,
    pub(crate) max_turns: Option<u32>,
    pub(crate) max_timeout_minutes: Option<u32>,
    pub(crate) max_budget_usd: Option<f64>,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) mode: Option<Mode>,
}

/// What becomes of a number that is too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// It is lowered.
    #[default]
    Clamp,
    /// The request is rejected.
    Reject,
}

/// What becomes of requests of callers whom no rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtherCallers {
    /// They are not limited here.
    #[default]
    Accept,
    /// They are rejected.
    Reject,
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
    /// Names the member at fault, e.g. `rules[1]: …`.
    pub fn check(text: &str) -> Result<(), String> {
        let settings = Self::read(text)?;
        let last = settings.rules.len().saturating_sub(1);
        for (place, rule) in settings.rules.iter().enumerate() {
            let limits = [
                rule.max_turns.is_some(),
                rule.max_timeout_minutes.is_some(),
                rule.max_budget_usd.is_some(),
                rule.models.is_some(),
            ];
            if !limits.contains(&true) {
                return Err(format!(
                    "rules[{place}]: expected at least one of max_turns, max_timeout_minutes, max_budget_usd and models"
                ));
            }
            if place < last && rule.callers.iter().any(|caller| caller == "*") {
                return Err(format!(
                    "rules[{place}]: it names every caller, so no rule behind it can hold; put it last"
                ));
            }
        }
        Ok(())
    }
}
