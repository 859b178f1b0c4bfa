//! The operator's manifest: which plugins, in which order, with what grants, settings and limits.
//!
//! Reads and checks text; touches no component. Grants stand here and nowhere else.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config;
use crate::wasm::{Grants, Limits, LoadError, MAX_MEMORY, World};

/// Bytes of a manifest.
const SIZE: u64 = 1 << 20;
/// Plugins of one set: each tool call asks every one of its kind.
const PLUGINS: usize = 64;
/// What a post-execution plugin may take that states nothing: it waits for the storage, where the
/// others only think.
const ACTION_TIME: Duration = Duration::from_secs(60);
/// No call may hold a place for longer than this.
const LONGEST: Duration = Duration::from_secs(3600);
/// Smallest memory that any toolchain's components start with: one page is 64 KiB.
const LEAST_MEMORY: u64 = 64 << 10;
/// Most bytes that may cross at once.
const MOST_OUTPUT: u64 = 64 << 20;

/// Whether a plugin's word counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Enforcement {
    /// It counts.
    #[default]
    Enforce,
    /// It runs and is logged, and changes nothing.
    Monitor,
}

impl Enforcement {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
        }
    }
}

/// What a plugin counts as that cannot answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnError {
    /// As if it had refused.
    #[default]
    Deny,
    /// As if it had nothing against it.
    Allow,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    plugin: Vec<EntryText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    name: String,
    world: World,
    source: String,
    sha256: Option<String>,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    grants: Vec<String>,
    #[serde(default)]
    mode: Enforcement,
    #[serde(default)]
    on_error: OnError,
    #[serde(default)]
    limits: LimitsText,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    memory: Option<String>,
    time: Option<String>,
    output: Option<String>,
}

/// One plugin of a manifest, checked.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) world: World,
    /// File of the component.
    pub(super) source: PathBuf,
    /// The digest that the operator pinned, in lower case.
    pub(super) sha256: Option<String>,
    pub(super) settings: Map<String, Value>,
    pub(super) grants: Grants,
    pub(super) mode: Enforcement,
    pub(super) on_error: OnError,
    pub(super) limits: Limits,
}

/// A manifest's plugins in order: what was checked, or why it cannot be used.
pub(super) type Entries = Vec<(String, Result<Entry, LoadError>)>;

/// Reads the manifest. An error is one of the whole file; mistakes in one plugin stand at the plugin.
pub(super) fn read(path: &Path, defaults: &config::Plugins) -> Result<Entries, String> {
    let shown = path.display();
    let missing = |error: std::io::Error| {
        format!(
            "the plugin manifest `{shown}` cannot be read ({error}): write one, or name it by \
             plugins.manifest (GATEHOUSE_PLUGINS). A file that holds only a comment is a manifest \
             without plugins"
        )
    };
    let content = crate::wasm::read_bounded(path, SIZE)
        .map_err(missing)?
        .ok_or_else(|| {
            format!("the plugin manifest `{shown}` is no file of at most {SIZE} bytes")
        })?;
    let text = String::from_utf8(content)
        .map_err(|_| format!("the plugin manifest `{shown}` is not UTF-8"))?;
    if text.trim().is_empty() {
        return Err(format!(
            "the plugin manifest `{shown}` is empty: write `[[plugin]]` entries, or a comment if \
             there shall be no plugin"
        ));
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    parse(&text, directory, defaults)
        .map_err(|message| format!("the plugin manifest `{shown}`: {message}"))
}

fn parse(text: &str, directory: &Path, defaults: &config::Plugins) -> Result<Entries, String> {
    let text: Text = toml::from_str(text).map_err(|error| error.to_string())?;
    if text.plugin.len() > PLUGINS {
        return Err(format!("a set has at most {PLUGINS} plugins"));
    }
    let mut names = HashSet::new();
    for entry in &text.plugin {
        if !valid_name(&entry.name) {
            return Err(format!(
                "`{}` is no name for a plugin: 1 to 64 lower-case letters, digits and hyphens",
                entry.name.escape_debug()
            ));
        }
        if !names.insert(entry.name.as_str()) {
            return Err(format!("two plugins are named `{}`", entry.name));
        }
    }
    let checked = |entry: EntryText| (entry.name.clone(), check(entry, directory, defaults));
    Ok(text.plugin.into_iter().map(checked).collect())
}

/// `^[a-z0-9-]{1,64}$`
fn valid_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(allowed)
}

fn check(
    entry: EntryText,
    directory: &Path,
    defaults: &config::Plugins,
) -> Result<Entry, LoadError> {
    let settings = json_table(&entry.settings)?;
    Ok(Entry {
        source: source(&entry.source, directory)?,
        sha256: entry.sha256.as_deref().map(digest).transpose()?,
        grants: grants(entry.world, &entry.grants)?,
        mode: mode(entry.world, entry.mode)?,
        limits: limits(entry.world, &entry.limits, defaults)?,
        on_error: entry.on_error,
        name: entry.name,
        world: entry.world,
        settings,
    })
}

fn mistake(message: impl Into<String>) -> LoadError {
    LoadError::new("plugin-manifest", message)
}

fn source(source: &str, directory: &Path) -> Result<PathBuf, LoadError> {
    if source.contains("://") {
        return Err(mistake(format!(
            "source `{source}`: this version loads components from files only; name a path, which is \
             relative to the manifest"
        )));
    }
    if source.is_empty() {
        return Err(mistake(
            "source is empty: name the component's file, relative to the manifest",
        ));
    }
    Ok(directory.join(source))
}

fn digest(text: &str) -> Result<String, LoadError> {
    let text = text.to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err(mistake(
            "sha256 is not the 64 hex digits that `sha256sum` prints",
        ))
    }
}

fn grants(world: World, names: &[String]) -> Result<Grants, LoadError> {
    let mut grants = Grants::default();
    for name in names {
        match (world, name.as_str()) {
            (World::PostExecution, "workspace") => grants.workspace = true,
            (World::PostExecution, "artifacts") => grants.artifacts = true,
            (World::PostExecution, _) => {
                return Err(mistake(format!(
                    "grant `{name}` does not exist in this version; these do: workspace, artifacts"
                )));
            }
            (World::Validator | World::ToolPermission, _) => {
                return Err(mistake(format!(
                    "grant `{name}`: a {} plugin can be granted nothing",
                    world.as_str()
                )));
            }
        }
    }
    Ok(grants)
}

fn mode(world: World, mode: Enforcement) -> Result<Enforcement, LoadError> {
    if world == World::PostExecution && mode == Enforcement::Monitor {
        return Err(mistake(
            "a post-execution plugin acts when it runs, so it has no mode `monitor`: leave it out",
        ));
    }
    Ok(mode)
}

fn limits(
    world: World,
    text: &LimitsText,
    defaults: &config::Plugins,
) -> Result<Limits, LoadError> {
    let time = match world {
        World::PostExecution => defaults.time.max(ACTION_TIME),
        World::Validator | World::ToolPermission => defaults.time,
    };
    let memory = text
        .memory
        .as_deref()
        .map_or(Ok(defaults.memory), |text| size("memory", text))?;
    let output = text
        .output
        .as_deref()
        .map_or(Ok(defaults.output), |text| size("output", text))?;
    let time = text.time.as_deref().map_or(Ok(time), duration)?;
    if !(LEAST_MEMORY..=MAX_MEMORY).contains(&memory) {
        return Err(mistake("limits.memory is from 64KiB to 1GiB"));
    }
    if output > MOST_OUTPUT {
        return Err(mistake("limits.output is at most 64MiB"));
    }
    if time.is_zero() || time > LONGEST {
        return Err(mistake("limits.time is more than nothing and at most 1h"));
    }
    Ok(Limits {
        memory,
        time,
        output,
    })
}

fn size(name: &str, text: &str) -> Result<u64, LoadError> {
    let wrong = || {
        mistake(format!(
            "limits.{name} `{text}` is no size: write \"512KiB\", \"64MiB\" or \"1GiB\""
        ))
    };
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(wrong)
}

fn duration(text: &str) -> Result<Duration, LoadError> {
    let wrong = || {
        mistake(format!(
            "limits.time `{text}` is no duration: write \"200ms\", \"30s\" or \"5m\""
        ))
    };
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    millis.map(Duration::from_millis).ok_or_else(wrong)
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn json_table(table: &toml::Table) -> Result<Map<String, Value>, LoadError> {
    table
        .iter()
        .map(|(key, value)| Ok((key.clone(), json(key, value)?)))
        .collect()
}

/// Settings are written in TOML and read as JSON: dates become texts, and there is no NaN.
fn json(key: &str, value: &toml::Value) -> Result<Value, LoadError> {
    Ok(match value {
        toml::Value::String(text) => text.clone().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(*number)
            .map(Value::Number)
            .ok_or_else(|| mistake(format!("settings.{key} is no number that JSON knows")))?,
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| json(key, item))
                .collect::<Result<_, _>>()?,
        ),
        toml::Value::Table(table) => Value::Object(json_table(table)?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn defaults() -> config::Plugins {
        crate::plugin::test_settings(Path::new("m"))
    }

    fn one(text: &str) -> Result<Entry, LoadError> {
        let base = "name = \"p\"\nworld = \"post-execution\"\nsource = \"p.wasm\"\n";
        let text = format!("[[plugin]]\n{base}{text}");
        parse(&text, Path::new("/etc/g"), &defaults())
            .unwrap()
            .remove(0)
            .1
    }

    fn whole(text: &str) -> String {
        parse(text, Path::new("/etc/g"), &defaults()).unwrap_err()
    }

    #[test]
    fn an_entry_says_everything_and_gets_the_defaults_where_it_does_not() {
        let entry = one("").unwrap();
        assert_eq!(entry.source, Path::new("/etc/g/p.wasm"));
        assert_eq!(
            (entry.mode, entry.on_error),
            (Enforcement::Enforce, OnError::Deny)
        );
        assert_eq!(entry.limits.memory, 64 << 20);
        assert_eq!(entry.limits.time, ACTION_TIME);
        let entry = one(
            "sha256 = \"AB\"\nsettings = { n = 1, t = { x = [1.5, true] }, d = 1979-05-27 }\n\
             grants = [\"workspace\", \"artifacts\"]\non_error = \"allow\"\n\
             limits = { memory = \"1MiB\", time = \"3s\", output = \"2KiB\" }",
        );
        assert_eq!(entry.unwrap_err().code, "plugin-manifest");
        let entry = one(
            "settings = { n = 1, t = { x = [1.5, true] }, d = 1979-05-27 }\n\
             grants = [\"workspace\", \"artifacts\"]\non_error = \"allow\"\n\
             limits = { memory = \"1MiB\", time = \"3s\", output = \"2KiB\" }",
        )
        .unwrap();
        let settings = Value::Object(entry.settings);
        assert_eq!(
            settings,
            json!({"n": 1, "t": {"x": [1.5, true]}, "d": "1979-05-27"})
        );
        assert_eq!(
            entry.grants,
            Grants {
                workspace: true,
                artifacts: true
            }
        );
        let limits = Limits {
            memory: 1 << 20,
            time: Duration::from_secs(3),
            output: 2 << 10,
        };
        assert_eq!(entry.limits, limits);
    }

    #[test]
    fn what_does_not_exist_is_refused_with_what_does() {
        for (text, hint) in [
            ("grants = [\"git\"]", "workspace, artifacts"),
            ("grants = [\"http:https://x\"]", "workspace, artifacts"),
            ("mode = \"monitor\"", "no mode `monitor`"),
            ("limits = { memory = \"64\" }", "64MiB"),
            ("limits = { memory = \"2GiB\" }", "1GiB"),
            ("limits = { time = \"0s\" }", "limits.time"),
            ("limits = { output = \"999999999999GiB\" }", "limits.output"),
            ("settings = { n = nan }", "settings.n"),
        ] {
            let message = one(text).unwrap_err().message;
            assert!(message.contains(hint), "{text}: {message}");
        }
        for source in ["https://x/p.wasm", "oci://x/p", "gs://b/p"] {
            let message = super::source(source, Path::new("")).unwrap_err().message;
            assert!(message.contains("from files only"), "{message}");
        }
    }

    #[test]
    fn mistakes_of_the_whole_file_are_told_with_their_place() {
        let entry = |name: &str| {
            format!("[[plugin]]\nname = \"{name}\"\nworld = \"validator\"\nsource = \"a\"\n")
        };
        assert!(whole(&format!("{0}{0}", entry("a"))).contains("two plugins are named `a`"));
        for name in ["A", "", "a_b", "ü", &"a".repeat(65)] {
            assert!(whole(&entry(name)).contains("is no name"), "{name}");
        }
        let unknown = whole(&format!("{}setings = {{}}\n", entry("a")));
        assert!(
            unknown.contains("setings") && unknown.contains("settings"),
            "{unknown}"
        );
        assert!(whole(&entry("a").replace("validator", "filter")).contains("tool-permission"));
    }

    #[test]
    fn a_missing_or_empty_manifest_says_what_to_do_and_a_comment_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.toml");
        assert!(
            read(&path, &defaults())
                .unwrap_err()
                .contains("GATEHOUSE_PLUGINS")
        );
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&path, &defaults()).unwrap_err().contains("is empty"));
        std::fs::write(&path, "# none\n").unwrap();
        assert!(read(&path, &defaults()).unwrap().is_empty());
    }
}
