//! What the caller writes under `postExecutionActions.uploadFiles`.

use serde_json::{Map, Value};

const MAX_PATTERNS: usize = 100;
const MAX_PATTERN_BYTES: usize = 1024;
const MAX_PREFIX_BYTES: usize = 256;
const KNOWN: [&str; 3] = ["globPatterns", "gcsPrefix", "always"];

/// Options that were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) patterns: Vec<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) always: bool,
}

impl Options {
    /// Reads and checks options.
    ///
    /// # Errors
    /// A sentence for the caller that names the member and what was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|_| "expected a JSON object".to_owned())?;
        let members = value
            .as_object()
            .ok_or("expected an object with globPatterns")?;
        if let Some(unknown) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            let shown: String = unknown.chars().take(64).collect();
            return Err(format!(
                "unknown field `{shown}`; expected {}",
                KNOWN.join(", ")
            ));
        }
        let always = match members.get("always") {
            None | Some(Value::Null) => false,
            Some(value) => value.as_bool().ok_or("always: expected true or false")?,
        };
        Ok(Self {
            patterns: patterns(members)?,
            prefix: prefix(members)?,
            always,
        })
    }
}

fn patterns(members: &Map<String, Value>) -> Result<Vec<String>, String> {
    let expected = format!("globPatterns: expected a list of 1 to {MAX_PATTERNS} patterns");
    let list = members
        .get("globPatterns")
        .and_then(Value::as_array)
        .ok_or(expected.clone())?;
    if list.is_empty() || list.len() > MAX_PATTERNS {
        return Err(expected);
    }
    let patterns = list.iter().enumerate().map(|(place, pattern)| {
        let fault = |what: &str| format!("globPatterns[{place}]: {what}");
        let pattern = pattern.as_str().ok_or_else(|| fault("expected a text"))?;
        if pattern.is_empty() || pattern.len() > MAX_PATTERN_BYTES {
            return Err(fault("expected 1 to 1024 bytes"));
        }
        if pattern.starts_with('/') || pattern.split('/').any(|name| name == "..") {
            return Err(fault(
                "expected a pattern relative to the workspace, without `..`",
            ));
        }
        Ok(pattern.to_owned())
    });
    patterns.collect()
}

/// Without the slash at its end that callers like to write.
fn prefix(members: &Map<String, Value>) -> Result<Option<String>, String> {
    let Some(value) = members.get("gcsPrefix").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let expected = "gcsPrefix: expected names with `/` between them, at most 256 bytes, without `..`; \
                    files are kept below the task's own place";
    let prefix = value.as_str().ok_or(expected)?;
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let fine = |name: &str| {
        !matches!(name, "" | "." | "..") && !name.contains(|c: char| c.is_control() || c == '\\')
    };
    if prefix.len() > MAX_PREFIX_BYTES || !prefix.split('/').all(fine) {
        return Err(expected.into());
    }
    Ok(Some(prefix.to_owned()))
}
