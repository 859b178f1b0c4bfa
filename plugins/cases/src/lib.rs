//! Runs a plugin's cases: folders of JSON files that say what goes in and what must come out.
//!
//! `cases/NAME/` holds `task.json`, `settings.json`, `expected.json` and, where the world has them,
//! `call.json`, `options.json` or others. A file that is not there reads as an empty object.
//! `expected.json` states the members of the outcome that matter; one ending in `~` names a text
//! that the member must contain, so that a case does not break with every comma of a sentence.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// One folder.
#[derive(Debug)]
pub struct Case {
    folder: PathBuf,
}

impl Case {
    /// Something in the folder, by its own name: the files of a workspace.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file of the folder, by its name without `.json`.
    ///
    /// # Errors
    /// It is there and no JSON.
    pub fn read(&self, name: &str) -> Result<Value, String> {
        let path = self.folder.join(name).with_extension("json");
        match fs::read_to_string(&path) {
            Ok(text) => {
                serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
            }
            Err(_) => Ok(Value::Object(Map::new())),
        }
    }
}

/// Runs every case of the plugin whose crate lies in `crate_dir`; the errors of all cases together.
///
/// # Errors
/// What differs, case by case; also that there are fewer than `at_least` cases.
pub fn run(
    crate_dir: &str,
    at_least: usize,
    outcome: impl Fn(&Case) -> Result<Value, String>,
) -> Result<(), String> {
    let folder = Path::new(crate_dir).join("cases");
    let mut folders: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let count = folders.len();

    let mut wrong = Vec::new();
    for folder in folders {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Err(difference) = run_one(&Case { folder }, &outcome) {
            wrong.push(format!("{name}: {difference}"));
        }
    }
    if count < at_least {
        wrong.push(format!(
            "{count} cases where at least {at_least} were expected"
        ));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

fn run_one(case: &Case, outcome: &impl Fn(&Case) -> Result<Value, String>) -> Result<(), String> {
    let expected = case.read("expected")?;
    let Some(members) = expected.as_object().filter(|members| !members.is_empty()) else {
        return Err("expected.json states nothing".into());
    };
    let got = outcome(case)?;
    for (name, value) in members {
        let fits = match name.strip_suffix('~') {
            Some(name) => {
                let text = got.get(name).and_then(Value::as_str).unwrap_or_default();
                value.as_str().is_some_and(|part| text.contains(part))
            }
            None => got.get(name).unwrap_or(&Value::Null) == value,
        };
        if !fits {
            return Err(format!("expected {name} {value}, got {got}"));
        }
    }
    Ok(())
}
