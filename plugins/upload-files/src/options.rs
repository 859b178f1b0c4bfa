//! What the caller writes under `postExecutionActions.uploadFiles`.

use options::Members;
use serde_json::Value;

const MAX_PATTERNS: usize = 100;
const MAX_PATTERN_BYTES: usize = 1024;
const MAX_PREFIX_BYTES: usize = 256;

/// Options that were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) patterns: Vec<String>,
    pub(crate) prefix: Option<String>,
}

impl Options {
    /// Reads and checks options.
    ///
    /// # Errors
    /// A sentence for the caller that names the member and what was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        let members = Members::read(text, &["globPatterns", "gcsPrefix"])?;
        Ok(Self {
            patterns: patterns(&members)?,
            prefix: prefix(&members)?,
        })
    }
}

fn patterns(members: &Members) -> Result<Vec<String>, String> {
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
fn prefix(members: &Members) -> Result<Option<String>, String> {
    let Some(value) = members.get("gcsPrefix") else {
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
