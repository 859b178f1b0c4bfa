//! The operator's settings, as the manifest states them.

use patterns::PathPattern;
use serde::Deserialize;

use crate::rule::Rule;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub(crate) allow: Vec<String>,
    pub(crate) ask: Vec<String>,
    pub(crate) deny: Vec<String>,
    pub(crate) only_allowed: bool,
    pub(crate) confine_writes: bool,
    pub(crate) confine_reads: bool,
    pub(crate) protected_paths: Vec<String>,
    pub(crate) always_allowed: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            allow: Vec::new(),
            ask: Vec::new(),
            deny: Vec::new(),
            only_allowed: false,
            confine_writes: true,
            confine_reads: false,
            protected_paths: owned(&[".git", ".gitmodules", ".claude", ".mcp.json"]),
            // Tools that touch nothing outside the CLI: its lists, its plans, its own answers.
            always_allowed: owned(&[
                "TodoWrite",
                "TaskCreate",
                "TaskGet",
                "TaskList",
                "TaskUpdate",
                "TaskOutput",
                "TaskStop",
                "BashOutput",
                "KillShell",
                "ToolSearch",
                "ListAgents",
                "EnterPlanMode",
                "ExitPlanMode",
                "StructuredOutput",
                "ReportFindings",
            ]),
        }
    }
}

/// [`Settings`] with every rule read.
pub(crate) struct Rules {
    pub(crate) allow: Vec<Rule>,
    pub(crate) ask: Vec<Rule>,
    pub(crate) deny: Vec<Rule>,
    pub(crate) protected: Vec<(String, PathPattern)>,
}

impl Settings {
    /// Reads settings and every rule in them.
    ///
    /// # Errors
    /// Names the member at fault, e.g. `deny[2] Bash(x: the bracket is not closed`.
    pub fn check(text: &str) -> Result<(), String> {
        Self::read(text)?.rules().map(|_| ())
    }

    /// Reads settings; rules are read when they are needed.
    ///
    /// # Errors
    /// What does not fit the schema.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("settings: {error}"))
    }

    pub(crate) fn rules(&self) -> Result<Rules, String> {
        if let Some(name) = self
            .always_allowed
            .iter()
            .find(|name| name.contains(['(', '*', ' ']))
        {
            return Err(format!(
                "always_allowed {name}: expected the bare name of a tool"
            ));
        }
        let protected = self
            .protected_paths
            .iter()
            .enumerate()
            .map(|(place, text)| {
                protected_path(text)
                    .map(|pattern| (text.clone(), pattern))
                    .map_err(|error| format!("protected_paths[{place}] {text}: {error}"))
            });
        Ok(Rules {
            allow: read_rules("allow", &self.allow)?,
            ask: read_rules("ask", &self.ask)?,
            deny: read_rules("deny", &self.deny)?,
            protected: protected.collect::<Result<_, _>>()?,
        })
    }
}

/// Every rule of a list.
pub(crate) fn read_rules(list: &str, texts: &[String]) -> Result<Vec<Rule>, String> {
    let rules = texts.iter().enumerate().map(|(place, text)| {
        Rule::parse(text).map_err(|error| format!("{list}[{place}] {text}: {error}"))
    });
    rules.collect()
}

/// Relative to the workspace; a bare name at any depth.
fn protected_path(text: &str) -> Result<PathPattern, String> {
    if text.starts_with(['/', '~']) {
        return Err("expected a path relative to the workspace".into());
    }
    let pattern = PathPattern::new(text)?;
    Ok(if text.trim_end_matches('/').contains('/') {
        pattern
    } else {
        pattern.at_any_depth()
    })
}
