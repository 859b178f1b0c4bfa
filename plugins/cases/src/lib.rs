//! A plugin's cases: folders of JSON files that say what goes in and what must come out. Read by
//! `cargo test` of the shipped plugins and by `gatehouse plugin test`.
//!
//! `cases/NAME/` holds `task.json`, `settings.json`, `expected.json` and, where the world has them,
//! `call.json`, `options.json` or others. A file that is not there reads as an empty object.
//! `expected.json` states the members of the outcome that matter; one ending in `~` names a text
//! that the member must contain, so that a case does not break with every comma of a sentence.
//!
//! Does not know plugins: whoever runs a case says what came out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Bytes of one file.
const SIZE: u64 = 16 << 20;

/// One folder, or one file with a member for each file that a folder would hold.
#[derive(Debug)]
pub struct Case {
    name: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Folder(PathBuf),
    File(Map<String, Value>),
}

impl Case {
    /// Something in the folder, by its own name: the files of a workspace.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().unwrap_or(Path::new("")).join(name)
    }

    /// A case by its path.
    ///
    /// # Errors
    /// It is neither a folder nor a file with a JSON object.
    pub fn open(path: &Path) -> Result<Self, String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let source = if path.is_dir() {
            Source::Folder(path.to_owned())
        } else {
            let content = json(path)?.ok_or_else(|| format!("{} is not there", path.display()))?;
            let Value::Object(files) = content else {
                return Err(format!("{} is no JSON object", path.display()));
            };
            Source::File(files)
        };
        Ok(Self {
            name: name.into_owned(),
            source,
        })
    }

    /// The folders of a folder, by name.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn all(folder: &Path) -> Result<Vec<Self>, String> {
        let entries =
            fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut folders: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.is_dir())
            .collect();
        folders.sort();
        folders.iter().map(|folder| Self::open(folder)).collect()
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its files lie, if it is a folder.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Folder(folder) => Some(folder),
            Source::File(_) => None,
        }
    }

    /// The names of its parts, without `.json`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn parts(&self) -> Result<Vec<String>, String> {
        let folder = match &self.source {
            Source::File(parts) => return Ok(parts.keys().cloned().collect()),
            Source::Folder(folder) => folder,
        };
        let entries =
            fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names
            .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    /// A part, by its name without `.json`; an empty object where it is not there.
    ///
    /// # Errors
    /// It is there and no JSON.
    pub fn read(&self, name: &str) -> Result<Value, String> {
        let part = self.find(name)?;
        Ok(part.unwrap_or_else(|| Value::Object(Map::new())))
    }

    /// A part, if it is there.
    ///
    /// # Errors
    /// It is there and no JSON.
    pub fn find(&self, name: &str) -> Result<Option<Value>, String> {
        match &self.source {
            Source::Folder(folder) => json(&folder.join(name).with_extension("json")),
            Source::File(parts) => Ok(parts.get(name).cloned()),
        }
    }

    /// How `got` differs from what the case expects.
    ///
    /// # Errors
    /// The first difference; also that the case expects nothing.
    pub fn compare(&self, got: &Value) -> Result<(), String> {
        let expected = self.read("expected")?;
        let Some(members) = expected.as_object().filter(|members| !members.is_empty()) else {
            return Err("expected.json states nothing".into());
        };
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
}

fn json(path: &Path) -> Result<Option<Value>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > SIZE => {
            return Err(wrong(&format!("is larger than {SIZE} bytes")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| wrong(&error))
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
    let cases = Case::all(&Path::new(crate_dir).join("cases"))?;
    let mut wrong = Vec::new();
    for case in &cases {
        let compared = outcome(case).and_then(|got| case.compare(&got));
        if let Err(difference) = compared {
            wrong.push(format!("{}: {difference}", case.name));
        }
    }
    let count = cases.len();
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
