//! Checks, as the operator's settings and a caller's options state them.

use serde::Deserialize;
use serde_json::Value;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// Checks of one list.
const CHECKS: usize = 50;
const EXPECTED: &str = "expected a check by `junit`, `json` or `file`";

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub(crate) checks: Vec<Check>,
}

/// What the caller added.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) checks: Vec<Check>,
}

/// One check, with the name by which it is told.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Junit(Junit),
    Json(Json),
    File(File),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Junit {
    pub(crate) junit: String,
    name: Option<String>,
    #[serde(default)]
    pub(crate) max_failures: u64,
    #[serde(default)]
    pub(crate) max_errors: u64,
    pub(crate) max_skipped: Option<u64>,
    #[serde(default = "one")]
    pub(crate) min_tests: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Json {
    pub(crate) json: String,
    name: Option<String>,
    pub(crate) pointer: String,
    pub(crate) at_least: Option<f64>,
    pub(crate) at_most: Option<f64>,
    pub(crate) equals: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) file: String,
    name: Option<String>,
    #[serde(default = "yes")]
    pub(crate) exists: bool,
    pub(crate) contains: Option<String>,
    pub(crate) must_not_contain: Option<String>,
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

impl Settings {
    /// Reads and checks settings.
    ///
    /// # Errors
    /// Names the member at fault, e.g. `checks[1]: …`.
    pub fn read(text: &str) -> Result<Self, String> {
        read(text).map(|checks| Self { checks })
    }
}

impl Options {
    /// Reads and checks options.
    ///
    /// # Errors
    /// A sentence for the caller that names the member and what was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        read(text).map(|checks| Self { checks })
    }
}

fn read(text: &str) -> Result<Vec<Check>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Members {
        #[serde(default)]
        checks: Vec<Value>,
    }
    let members: Members = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if members.checks.len() > CHECKS {
        return Err(format!("checks: expected at most {CHECKS}"));
    }
    let checks = members.checks.iter().enumerate();
    checks
        .map(|(place, value)| check(value).map_err(|error| format!("checks[{place}]: {error}")))
        .collect()
}

fn check(value: &Value) -> Result<Check, String> {
    let kinds = ["junit", "json", "file"].map(|kind| value.get(kind).is_some());
    let (path, name, kind) = match kinds {
        [true, false, false] => {
            let check: Junit = of(value)?;
            (check.junit.clone(), check.name.clone(), Kind::Junit(check))
        }
        [false, true, false] => {
            let check: Json = of(value)?;
            if check.at_least.is_none() && check.at_most.is_none() && check.equals.is_none() {
                return Err("expected at least one of at_least, at_most and equals".into());
            }
            if !check.pointer.is_empty() && !check.pointer.starts_with('/') {
                return Err("pointer: expected a JSON pointer such as /total/lines/pct".into());
            }
            (check.json.clone(), check.name.clone(), Kind::Json(check))
        }
        [false, false, true] => {
            let check: File = of(value)?;
            let says_more = check.contains.is_some() || check.must_not_contain.is_some();
            if !check.exists && says_more {
                return Err("a file that must not exist cannot have to contain something".into());
            }
            if [&check.contains, &check.must_not_contain]
                .into_iter()
                .flatten()
                .any(String::is_empty)
            {
                return Err("contains, must_not_contain: expected some text".into());
            }
            (check.file.clone(), check.name.clone(), Kind::File(check))
        }
        _ => return Err(EXPECTED.into()),
    };
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|name| name == "..") {
        return Err("expected a pattern relative to the workspace, without `..`".into());
    }
    Ok(Check {
        name: name.unwrap_or(path),
        kind,
    })
}

fn of<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}
