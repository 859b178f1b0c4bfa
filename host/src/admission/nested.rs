//! What the objects of a request look like.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::request::{WHEN, plugin_name};
use super::schema::text;
use super::{Refusal, forms};
use crate::plugin::ActionWhen;

/// Deeper data is nobody's metadata, and every reader of a record has to walk it.
const DEEPEST: usize = 16;

/// `{"git": {…}, "uploadFiles": {…}}`; what the options mean is up to each plugin.
pub(super) fn actions(path: &str, value: &Value) -> Result<(), Refusal> {
    let mut plugins = BTreeSet::new();
    for (key, options) in entries(path, value, 32, forms::action_name)? {
        let path = format!("{path}.{key}");
        let members = object(&path, options)?;
        bounded(&path, options, 64 << 10)?;
        if let Some(when) = members.get(WHEN).filter(|when| !when.is_null())
            && ActionWhen::deserialize(when).is_err()
        {
            return Err(Refusal::invalid(
                &format!("{path}.{WHEN}"),
                "must be one of success, failure, always",
            ));
        }
        if !plugins.insert(plugin_name(key)) {
            return Err(Refusal::invalid(
                &path,
                "names an action that another key names already",
            ));
        }
    }
    Ok(())
}

/// Name to value.
pub(super) fn environment(path: &str, value: &Value) -> Result<(), Refusal> {
    // The kernel takes some 2 MiB for arguments and environment of a program together.
    const TOTAL: usize = 512 << 10;
    let variables = entries(path, value, 100, forms::variable_name)?;
    let mut total = 0;
    for (name, value) in variables {
        let at = format!("{path}.{name}");
        if forms::is_reserved_variable(name) {
            return Err(Refusal::invalid(
                &at,
                "is reserved: it would steer the agent itself",
            ));
        }
        text(&at, value, 64 << 10, forms::prose)?;
        total += name.len() + value.as_str().map_or(0, str::len);
    }
    if total > TOTAL {
        return Err(Refusal::out_of_range(
            path,
            format!("must be at most {TOTAL} bytes in all"),
        ));
    }
    Ok(())
}

/// The caller's own, echoed.
pub(super) fn metadata(path: &str, value: &Value) -> Result<(), Refusal> {
    object(path, value)?;
    bounded(path, value, 32 << 10)
}

/// Name to value, to find tasks by.
pub(super) fn labels(path: &str, value: &Value) -> Result<(), Refusal> {
    for (name, value) in entries(path, value, 32, forms::label_name)? {
        text(&format!("{path}.{name}"), value, 128, forms::label_value)?;
    }
    Ok(())
}

/// A JSON Schema that needs nothing from elsewhere.
pub(super) fn output_schema(path: &str, value: &Value) -> Result<(), Refusal> {
    bounded(path, object_value(path, value)?, 100_000)?;
    // The compiler's own words would repeat values.
    jsonschema::validator_for(value)
        .map(|_| ())
        .map_err(|error| {
            let at = error.instance_path().to_string();
            Refusal::invalid(path, format!("is no valid JSON Schema, at {at:?}"))
        })
}

/// `{"mcpServers": {"name": {"command": …} or {"url": …}}}`
pub(super) fn mcp_config(path: &str, value: &Value) -> Result<(), Refusal> {
    // It becomes one argument of the CLI.
    bounded(path, object_value(path, value)?, 100_000)?;
    known_keys(path, object(path, value)?, &["mcpServers"])?;
    let servers_path = format!("{path}.mcpServers");
    let servers = value
        .get("mcpServers")
        .ok_or_else(|| Refusal::at("required", &servers_path, "is required"))?;
    for (name, server) in entries(&servers_path, servers, 64, forms::server_name)? {
        let path = format!("{servers_path}.{name}");
        let server = object(&path, server)?;
        let place = ["command", "url"]
            .iter()
            .find_map(|key| server.get(*key).map(|value| (key, value)));
        let (key, place) =
            place.ok_or_else(|| Refusal::at("required", &path, "must have a command or a url"))?;
        text(&format!("{path}.{key}"), place, 4096, forms::prose)?;
    }
    Ok(())
}

/// Name to `{frontmatter, content}`; the CLI needs a description to know when to call one.
pub(super) fn subagents(path: &str, value: &Value) -> Result<(), Refusal> {
    for (name, agent) in documents(path, value)? {
        let path = format!("{path}.{name}.frontmatter");
        let absent = || Refusal::at("required", &path, "is required and needs a description");
        let matter = object(&path, agent.get("frontmatter").ok_or_else(absent)?)?;
        known_keys(
            &path,
            matter,
            &[
                "name",
                "description",
                "tools",
                "disallowedTools",
                "model",
                "color",
            ],
        )?;
        let description = matter.get("description").ok_or_else(absent)?;
        text(
            &format!("{path}.description"),
            description,
            8 << 10,
            forms::tool,
        )?;
        for key in ["tools", "disallowedTools"] {
            if let Some(tools) = matter.get(key) {
                tool_list(&format!("{path}.{key}"), tools)?;
            }
        }
        for (key, form) in [
            ("name", forms::tool as forms::Form),
            ("model", forms::model),
            ("color", forms::tool),
        ] {
            if let Some(value) = matter.get(key) {
                text(&format!("{path}.{key}"), value, 128, form)?;
            }
        }
    }
    Ok(())
}

/// Name to `{frontmatter?, content}`; the front matter's names are the CLI's.
pub(super) fn slash_commands(path: &str, value: &Value) -> Result<(), Refusal> {
    for (name, command) in documents(path, value)? {
        let path = format!("{path}.{name}.frontmatter");
        let Some(matter) = command.get("frontmatter").and_then(Value::as_object) else {
            continue;
        };
        known_keys(
            &path,
            matter,
            &["description", "argument-hint", "allowed-tools", "model"],
        )?;
        for (key, form) in [
            ("description", forms::prose as forms::Form),
            ("argument-hint", forms::prose),
            ("model", forms::model),
        ] {
            if let Some(value) = matter.get(key) {
                text(&format!("{path}.{key}"), value, 8 << 10, form)?;
            }
        }
        if let Some(tools) = matter.get("allowed-tools") {
            tool_list(&format!("{path}.allowed-tools"), tools)?;
        }
    }
    Ok(())
}

fn documents<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Refusal> {
    let documents = entries(path, value, 64, forms::document_name)?;
    for (name, document) in documents {
        let path = format!("{path}.{name}");
        let fields = object(&path, document)?;
        known_keys(&path, fields, &["frontmatter", "content"])?;
        let content = format!("{path}.content");
        let body = fields
            .get("content")
            .ok_or_else(|| Refusal::at("required", &content, "is required"))?;
        text(&content, body, 256 << 10, forms::prompt)?;
        if let Some(matter) = fields.get("frontmatter") {
            let path = format!("{path}.frontmatter");
            object(&path, matter)?;
            bounded(&path, matter, 16 << 10)?;
        }
    }
    Ok(documents)
}

/// `"Read, Grep"` or `["Read", "Grep"]`, as front matter has it.
fn tool_list(path: &str, value: &Value) -> Result<(), Refusal> {
    match value {
        Value::String(_) => text(path, value, 8 << 10, forms::tool),
        Value::Array(items) if items.len() <= 200 => {
            items.iter().enumerate().try_for_each(|(index, item)| {
                text(&format!("{path}[{index}]"), item, 500, forms::tool)
            })
        }
        Value::Array(_) => Err(Refusal::out_of_range(path, "must have at most 200 entries")),
        _ => Err(Refusal::wrong_type(path, "text or a list of texts")),
    }
}

fn object<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Refusal> {
    value
        .as_object()
        .ok_or_else(|| Refusal::wrong_type(path, "an object"))
}

fn object_value<'a>(path: &str, value: &'a Value) -> Result<&'a Value, Refusal> {
    object(path, value).map(|_| value)
}

/// The entries of an object whose names are the caller's. A name of the wrong form is not repeated:
/// whoever mixes up names and values would find a secret in our answer.
fn entries<'a>(
    path: &str,
    value: &'a Value,
    most: usize,
    name_form: forms::Form,
) -> Result<&'a Map<String, Value>, Refusal> {
    let entries = object(path, value)?;
    if entries.len() > most {
        return Err(Refusal::out_of_range(
            path,
            format!("must have at most {most} entries"),
        ));
    }
    for name in entries.keys() {
        name_form(name).map_err(|sentence| Refusal::invalid(path, sentence))?;
    }
    Ok(entries)
}

fn known_keys(
    path: &str,
    object: &Map<String, Value>,
    known: &[&'static str],
) -> Result<(), Refusal> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(super::check::unknown_field(
            path,
            key,
            known.iter().copied(),
        )),
    }
}

fn bounded(path: &str, value: &Value, most_bytes: usize) -> Result<(), Refusal> {
    if value.to_string().len() > most_bytes {
        return Err(Refusal::out_of_range(
            path,
            format!("must be at most {most_bytes} bytes as JSON"),
        ));
    }
    if depth(value) > DEEPEST {
        return Err(Refusal::out_of_range(
            path,
            format!("must be nested at most {DEEPEST} levels deep"),
        ));
    }
    Ok(())
}

/// The parser has bounded it already, at a depth that the stack bears.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
