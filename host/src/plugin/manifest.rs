//! The operator's manifest: which plugins, in which order, with what grants, settings and limits.
//!
//! Reads and checks text; touches no component. Grants stand here and nowhere else.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::group::{self, Candidate, Group, GroupPin};
use super::limits::{LimitsText, limits};
use super::modes::{Enforcement, ModeFor, Modes};
use super::source::Source;
use super::trial::Extent;
use super::{ActionWhen, Grants, StandingAction};
use crate::config;
use crate::outbound::ForPlugins;
use crate::wasm::{Limits, LoadError, World};

/// Bytes of a manifest.
const SIZE: u64 = 1 << 20;
/// Plugins of one set: each tool call asks every one of its kind.
const PLUGINS: usize = 64;

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
    /// To be tried before it is active.
    trial: Option<Extent>,
    #[serde(default)]
    plugin: Vec<EntryText>,
    #[serde(default)]
    group: Vec<GroupPin>,
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
    modes: Vec<ModeFor>,
    #[serde(default)]
    on_error: OnError,
    #[serde(default)]
    limits: LimitsText,
    #[serde(default)]
    always: bool,
    options: Option<toml::Table>,
    when: Option<ActionWhen>,
    #[serde(default)]
    needs_repository: bool,
    #[serde(default)]
    required: bool,
}

/// One plugin of a manifest, checked.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) world: World,
    /// Of the component.
    pub(super) source: Source,
    /// The same as it is written.
    pub(super) written: String,
    /// The digest that the operator pinned, in lower case.
    pub(super) sha256: Option<String>,
    /// The digest of the lock file, where there is one.
    pub(super) locked: Option<String>,
    pub(super) settings: Map<String, Value>,
    pub(super) grants: Grants,
    pub(super) mode: Enforcement,
    /// For some tasks, the first that is meant for it.
    pub(super) modes: Vec<ModeFor>,
    pub(super) on_error: OnError,
    pub(super) limits: Limits,
    pub(super) standing: Option<StandingAction>,
    /// Refused, or where it is standing skipped, for requests without `gitRepo`.
    pub(super) needs_repository: bool,
    /// A task that completed fails where this action does.
    pub(super) required: bool,
}

/// A manifest, read.
#[derive(Debug)]
pub(super) struct Manifest {
    /// How its set is to be tried before it is active.
    pub(super) trial: Option<Extent>,
    /// Its plugins in order: what was checked, or why it cannot be used.
    pub(super) entries: Vec<(String, Result<Entry, LoadError>)>,
    /// What it says of each group, and what was checked of that.
    pub(super) groups: Vec<(GroupPin, Result<Arc<Group>, LoadError>)>,
}

/// Reads the manifest. An error is one of the whole file; mistakes in one plugin stand at the plugin.
pub(super) fn read(
    path: &Path,
    defaults: &config::Plugins,
    outbound: &config::Outbound,
) -> Result<Manifest, String> {
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
    parse(&text, directory, defaults, outbound)
        .map_err(|message| format!("the plugin manifest `{shown}`: {message}"))
}

/// The same of a text, whose files are relative to `directory`.
pub(super) fn parse(
    text: &str,
    directory: &Path,
    defaults: &config::Plugins,
    outbound: &config::Outbound,
) -> Result<Manifest, String> {
    let text: Text = toml::from_str(text).map_err(|error| error.to_string())?;
    if let Some(extent) = text.trial {
        extent.check().map_err(|error| format!("trial: {error}"))?;
    }
    if text.plugin.len() > PLUGINS {
        return Err(format!("a set has at most {PLUGINS} plugins"));
    }
    let mut names = HashSet::new();
    let of_plugins = text.plugin.iter().map(|entry| ("plugin", &entry.name));
    let of_groups = text.group.iter().map(|group| ("group", &group.name));
    for (what, name) in of_plugins.chain(of_groups) {
        if !valid_name(name) {
            return Err(format!(
                "`{}` is no name for a {what}: 1 to 64 lower-case letters, digits and hyphens",
                name.escape_debug()
            ));
        }
        if !names.insert(name.as_str()) {
            return Err(format!("two plugins or groups are named `{name}`"));
        }
    }
    let plugins: Vec<_> = text.plugin.iter().map(EntryText::as_candidate).collect();
    let groups = group::check(&text.group, &plugins);
    let checked = |entry: EntryText| {
        let name = entry.name.clone();
        (name, check(entry, directory, defaults, outbound))
    };
    Ok(Manifest {
        trial: text.trial,
        groups: text.group.into_iter().zip(groups).collect(),
        entries: text.plugin.into_iter().map(checked).collect(),
    })
}

impl EntryText {
    fn as_candidate(&self) -> Candidate<'_> {
        Candidate {
            name: &self.name,
            world: self.world,
            mode: self.mode,
            modes: &self.modes,
        }
    }
}

/// `^[a-z0-9-]{1,64}$`
pub(super) fn valid_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(allowed)
}

fn check(
    entry: EntryText,
    directory: &Path,
    defaults: &config::Plugins,
    outbound: &config::Outbound,
) -> Result<Entry, LoadError> {
    let settings = json_table("settings", &entry.settings)?;
    let (is_pinned, registries) = (entry.sha256.is_some(), &defaults.registries);
    let source = Source::parse(&entry.source, directory, is_pinned, registries, outbound)?;
    Ok(Entry {
        standing: standing(&entry)?,
        needs_repository: of_actions(&entry, "needs_repository", entry.needs_repository)?,
        required: of_actions(&entry, "required", entry.required)?,
        sha256: pinned(&entry, &source)?,
        source,
        written: entry.source.clone(),
        locked: None,
        grants: grants(entry.world, &entry.grants, outbound)?,
        mode: mode(&entry)?,
        limits: limits(entry.world, &entry.limits, defaults)?,
        on_error: entry.on_error,
        modes: entry.modes,
        name: entry.name,
        world: entry.world,
        settings,
    })
}

pub(super) fn mistake(message: impl Into<String>) -> LoadError {
    LoadError::new("plugin-manifest", message)
}

/// The digest that the component must have, where one is said.
fn pinned(entry: &EntryText, source: &Source) -> Result<Option<String>, LoadError> {
    let said = entry.sha256.as_deref().map(digest).transpose()?;
    match (said, source) {
        (Some(said), Source::Bucket(named)) if said != *named => Err(mistake(
            "source names another digest than sha256: leave one of them out",
        )),
        (None, Source::Bucket(named)) => Ok(Some(named.clone())),
        (said, _) => Ok(said),
    }
}

pub(super) fn digest(text: &str) -> Result<String, LoadError> {
    let text = text.to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err(mistake(
            "sha256, or a source `bucket:`, is not the 64 hex digits that `sha256sum` prints",
        ))
    }
}

fn grants(
    world: World,
    words: &[String],
    outbound: &config::Outbound,
) -> Result<Grants, LoadError> {
    if let (World::Validator | World::ToolPermission, Some(word)) = (world, words.first()) {
        return Err(mistake(format!(
            "grant `{word}`: a {} plugin can be granted nothing",
            world.as_str()
        )));
    }
    let grants = Grants::parse(words).map_err(mistake)?;
    for url in grants.hosts() {
        ForPlugins::check(url, outbound).map_err(|forbidden| {
            let place = url.origin().ascii_serialization();
            mistake(format!(
                "grant `http:{place}` can never be used: {forbidden} (outbound.private_addresses)"
            ))
        })?;
    }
    Ok(grants)
}

/// `always`, `when` and `options`: what the operator has carried out for every task.
fn standing(entry: &EntryText) -> Result<Option<StandingAction>, LoadError> {
    let says_more = entry.options.is_some() || entry.when.is_some();
    match (entry.world, entry.always) {
        (World::PostExecution, true) => {}
        (World::PostExecution, false) if says_more => {
            return Err(mistake(
                "options and when are for actions that run for every task: add `always = true`, or \
                 leave them out and let callers say",
            ));
        }
        (World::PostExecution, false) => return Ok(None),
        (World::Validator | World::ToolPermission, always) if always || says_more => {
            return Err(mistake(format!(
                "always, options and when are for post-execution plugins; every {} plugin is asked \
                 anyway",
                entry.world.as_str()
            )));
        }
        (World::Validator | World::ToolPermission, _) => return Ok(None),
    }
    let options = entry
        .options
        .as_ref()
        .map_or_else(|| Ok(Map::new()), |options| json_table("options", options))?;
    Ok(Some(StandingAction {
        when: entry.when.unwrap_or(ActionWhen::Always),
        options: Value::Object(options),
    }))
}

/// A switch that only actions have.
fn of_actions(entry: &EntryText, name: &str, value: bool) -> Result<bool, LoadError> {
    if value && entry.world != World::PostExecution {
        return Err(mistake(format!(
            "{name} is for post-execution plugins; every {} plugin is asked anyway",
            entry.world.as_str()
        )));
    }
    Ok(value)
}

fn mode(entry: &EntryText) -> Result<Enforcement, LoadError> {
    if entry.world == World::PostExecution {
        if !entry.modes.is_empty() {
            return Err(no_modes());
        }
        if entry.mode == Enforcement::Monitor {
            return Err(no_monitor());
        }
    }
    Modes::read(&entry.modes).map_err(mistake)?;
    Ok(entry.mode)
}

pub(super) fn no_modes() -> LoadError {
    mistake(
        "modes for some tasks are for validators and tool-permission plugins: an action runs where it is \
         asked for, or by `always`",
    )
}

pub(super) fn no_monitor() -> LoadError {
    mistake(
        "a post-execution plugin acts when it runs, so it has no mode `monitor`: use `enforce` or `off`",
    )
}

fn json_table(place: &str, table: &toml::Table) -> Result<Map<String, Value>, LoadError> {
    table
        .iter()
        .map(|(key, value)| Ok((key.clone(), json(&format!("{place}.{key}"), value)?)))
        .collect()
}

/// Settings are written in TOML and read as JSON: dates become texts, and there is no NaN.
fn json(place: &str, value: &toml::Value) -> Result<Value, LoadError> {
    Ok(match value {
        toml::Value::String(text) => text.clone().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(*number)
            .map(Value::Number)
            .ok_or_else(|| mistake(format!("{place} is no number that JSON knows")))?,
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| json(place, item))
                .collect::<Result<_, _>>()?,
        ),
        toml::Value::Table(table) => Value::Object(json_table(place, table)?),
    })
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
