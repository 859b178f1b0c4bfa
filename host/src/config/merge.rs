//! One source over the other, key by key.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::variables::{FILE, NAMED, PREFIX, SECRET_KEYS, TABLES, key_of, variable_of};
use super::{Origin, Sources, nearest};

/// Every key with its default and the comments that document it.
pub(super) const DEFAULTS: &str = include_str!("../../config.default.toml");

/// A value and its source.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Dotted key to value.
pub(super) type Merged = BTreeMap<String, Found>;

/// What holds where nobody says anything.
pub(super) fn defaults() -> Result<Merged, String> {
    let table = parse(DEFAULTS).map_err(|why| format!("config.default.toml: {why}"))?;
    let mut values = BTreeMap::new();
    flatten("", table, &mut values);
    Ok(values
        .into_iter()
        .map(|(key, value)| {
            (
                key,
                Found {
                    value,
                    origin: Origin::Default,
                },
            )
        })
        .collect())
}

/// Every source over the defaults. A name that is no key is a mistake and changes nothing.
pub(super) fn merge(defaults: &Merged, sources: &Sources, mistakes: &mut Vec<String>) -> Merged {
    let mut merged = defaults.clone();
    if let Some(file) = sources.file() {
        match read(file) {
            Ok(values) => {
                for (key, value) in values {
                    let found = Found {
                        value,
                        origin: Origin::File(file.to_owned()),
                    };
                    set(&mut merged, &key, found, mistakes, |key| key.to_owned());
                }
            }
            Err(why) => mistakes.push(format!("{}: {why}", file.display())),
        }
    }
    for (name, key) in NAMED {
        if let Some(text) = sources.variable(name) {
            set_text(
                &mut merged,
                key,
                text,
                Origin::Environment(name.to_owned()),
                mistakes,
            );
        }
    }
    log_levels(&mut merged, sources, mistakes);
    for (name, text) in &sources.environment {
        if let Some(key) = key_of(name) {
            // As with the variables above: what is left empty must not take a secret away.
            if SECRET_KEYS.contains(&key.as_str()) && text.trim().is_empty() {
                continue;
            }
            set_text(
                &mut merged,
                &key,
                text,
                Origin::Environment(name.clone()),
                mistakes,
            );
        } else if let Some(meant) = mistyped(name) {
            mistakes.push(format!(
                "{name} is no variable of Gatehouse; did you mean {meant}?"
            ));
        }
    }
    for (key, text) in &sources.flags {
        set_text(&mut merged, key, text, Origin::Flag, mistakes);
    }
    merged
}

/// A variable that is ours by its looks but none that we know: a mistyped GATEHOUSE_API_KEYS must not
/// leave the API open.
fn mistyped(name: &str) -> Option<&'static str> {
    let known = || {
        NAMED
            .iter()
            .map(|(known, _)| *known)
            .chain([FILE])
            .filter(|known| known.starts_with("GATEHOUSE_"))
    };
    if !name.starts_with("GATEHOUSE_") || known().any(|known| known == name) {
        return None;
    }
    nearest(name, known())
}

/// LOG_LEVEL, and `LOG_LEVEL_<MODULE>` as further directives behind it.
fn log_levels(merged: &mut Merged, sources: &Sources, mistakes: &mut Vec<String>) {
    if let Some(text) = sources.variable("LOG_LEVEL") {
        set_text(
            merged,
            "log.level",
            text,
            Origin::Environment("LOG_LEVEL".to_owned()),
            mistakes,
        );
    }
    for name in sources.environment.keys() {
        let Some(module) = name.strip_prefix("LOG_LEVEL_") else {
            continue;
        };
        let Some(level) = sources.variable(name) else {
            continue;
        };
        let Some(target) = crate::telemetry::target_of(module) else {
            let meant = nearest(module, crate::telemetry::modules());
            let hint = meant
                .map(|meant| format!("; did you mean LOG_LEVEL_{}?", meant.to_ascii_uppercase()));
            mistakes.push(format!(
                "{name} names no module of Gatehouse{}",
                hint.unwrap_or_default()
            ));
            continue;
        };
        if let Some(found) = merged.get_mut("log.level") {
            let before = found.value.as_str().unwrap_or_default();
            found.value = Value::String(format!("{before},{target}={}", level.trim()));
            found.origin = match &found.origin {
                Origin::Environment(names) => Origin::Environment(format!("{names}, {name}")),
                _ => Origin::Environment(name.clone()),
            };
        }
    }
}

/// Sets a value that came as text, in the kind that the default has. Text that does not read as that
/// kind stays text, and the conversion says what was expected.
fn set_text(
    merged: &mut Merged,
    key: &str,
    text: &str,
    origin: Origin,
    mistakes: &mut Vec<String>,
) {
    let value = match merged.get(key).map(|found| &found.value) {
        Some(Value::Integer(_)) => text.trim().parse().map(Value::Integer).ok(),
        Some(Value::Boolean(_)) => text.trim().parse().map(Value::Boolean).ok(),
        Some(Value::Array(_)) => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Some(Value::Array(items.map(Value::from).collect()))
        }
        Some(Value::Table(_)) => parse(&format!("table = {text}"))
            .ok()
            .and_then(|mut text| text.remove("table")),
        _ => None,
    };
    let found = Found {
        value: value.unwrap_or_else(|| Value::String(text.to_owned())),
        origin,
    };
    let by_variable =
        matches!(&found.origin, Origin::Environment(name) if name.starts_with(PREFIX));
    set(merged, key, found, mistakes, |key| {
        if by_variable {
            variable_of(key)
        } else {
            key.to_owned()
        }
    });
}

fn set(
    merged: &mut Merged,
    key: &str,
    found: Found,
    mistakes: &mut Vec<String>,
    spell: impl Fn(&str) -> String,
) {
    if let Some(place) = merged.get_mut(key) {
        *place = found;
        return;
    }
    let hint = nearest(key, merged.keys().map(String::as_str));
    let hint = hint
        .map(|meant| format!("; did you mean `{}`?", spell(meant)))
        .unwrap_or_default();
    mistakes.push(format!("`{key}` ({}) is no setting{hint}", found.origin));
}

fn read(file: &Path) -> Result<BTreeMap<String, Value>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    let mut values = BTreeMap::new();
    flatten("", parse(&text)?, &mut values);
    Ok(values)
}

/// The parser's own rendering would repeat the line, and a secret with it.
fn parse(text: &str) -> Result<Table, String> {
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        match before {
            Some(before) => format!(
                "line {}: {}",
                before.matches('\n').count() + 1,
                error.message()
            ),
            None => error.message().to_owned(),
        }
    })
}

fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(table) if !TABLES.contains(&&*key) => flatten(&key, table, into),
            value => {
                into.insert(key, value);
            }
        }
    }
}
