//! From sources to settings: merge, derive, convert, check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::merge::{Found, Merged, defaults, merge};
use super::variables::{FILE, SECRET_KEYS};
use super::{Config, Origin, derive::derive, validate};

/// Where settings come from; tests hand in their own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config` or `GATEHOUSE_CONFIG`.
    pub file: Option<PathBuf>,
    /// The process's environment, or a test's.
    pub environment: BTreeMap<String, String>,
    /// Flags: dotted key to value.
    pub flags: BTreeMap<String, String>,
}

impl Sources {
    /// The file, from the flag or else from the environment.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file
            .as_deref()
            .or_else(|| self.variable(FILE).map(Path::new))
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.trim().is_empty())
    }
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

/// One setting in force, for people to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Dotted, e.g. `server.listen`.
    pub key: String,
    /// As in the file; a secret reads `[set]` or `[not set]`.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Merges, converts, checks. Every mistake names its key and where it was set.
pub fn load(sources: &Sources) -> Result<Config, Mistakes> {
    resolve(sources).map(|(config, _)| config)
}

/// The same as [`load`], as a list in the order of the keys, without any secret.
pub fn settings(sources: &Sources) -> Result<Vec<Setting>, Mistakes> {
    let (_, merged) = resolve(sources)?;
    let shown = merged.into_iter().map(|(key, Found { value, origin })| {
        let value = match SECRET_KEYS.contains(&key.as_str()) {
            true if is_nothing(&value) => "[not set]".into(),
            true => "[set]".into(),
            false => value,
        };
        Setting { key, value, origin }
    });
    Ok(shown.collect())
}

fn is_nothing(secret: &Value) -> bool {
    match secret {
        Value::String(text) => text.trim().is_empty(),
        Value::Table(table) => table.is_empty(),
        _ => false,
    }
}

fn resolve(sources: &Sources) -> Result<(Config, Merged), Mistakes> {
    let mut mistakes = Vec::new();
    let defaults = defaults().map_err(|mistake| Mistakes(vec![mistake]))?;
    let mut merged = merge(&defaults, sources, &mut mistakes);
    derive(&mut merged, sources);

    // Values that are known to be good, in place of those that are not: each value is tried alone,
    // and the rest can still be checked against each other.
    let mut sound = defaults;
    derive(&mut sound, &Sources::default());
    let mut bad = BTreeSet::new();
    for (key, found) in &mut merged {
        let Some(good) = sound.get(key).cloned() else {
            continue;
        };
        if let Some(place) = sound.get_mut(key) {
            place.value = found.value.clone();
        }
        if let Err(why) = convert(&sound) {
            mistakes.push(format!("`{key}` ({}): {why}", found.origin));
            bad.insert(key.clone());
            found.value = good.value.clone();
        }
        sound.insert(key.clone(), good);
    }

    let mut config = convert(&merged).map_err(|why| Mistakes(vec![why]))?;
    config.origins = merged
        .iter()
        .map(|(key, found)| (key.clone(), found.origin.clone()))
        .collect();
    mistakes.extend(validate::mistakes(&config, &bad));
    if mistakes.is_empty() {
        Ok((config, merged))
    } else {
        Err(Mistakes(mistakes))
    }
}

fn convert(merged: &Merged) -> Result<Config, String> {
    let mut root = Table::new();
    for (key, found) in merged {
        insert(&mut root, key, &found.value);
    }
    Config::deserialize(root).map_err(|error| error.message().to_owned())
}

/// Puts a value where its dotted key says.
fn insert(table: &mut Table, key: &str, value: &Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value.clone());
        }
        Some((section, rest)) => {
            let section = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                insert(section, rest, value);
            }
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
