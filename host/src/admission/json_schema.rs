//! The request as a JSON Schema, made from the fields that `check` goes by.
//!
//! What the schema refuses is refused; the other way round it cannot say everything: forms of texts,
//! bytes of UTF-8 and an operator's validators are beyond it.

use serde_json::{Map, Value, json};

use super::schema::{FIELDS, Field, Kind};
use crate::config::Task;
use crate::task::Mode;

/// The page that tells each field's meaning, in a table of names, values and meanings.
const PAGE: &str = include_str!("../../../docs/reference/request.md");

/// The body of `/run` or of `/run-async`, as this gateway's settings have it.
pub fn json_schema(mode: Mode, task: &Task) -> Value {
    let required: &[&str] = match mode {
        Mode::Sync => &["prompt"],
        Mode::Async => &["prompt", "callbackUrl"],
    };
    let properties: Map<String, Value> = FIELDS
        .iter()
        .filter(|field| field.only.is_none_or(|(only, _)| only == mode))
        .map(|field| {
            let required = required.contains(&field.name);
            (field.name.to_owned(), property(field, required, task))
        })
        .collect();
    let given = |name: &str| {
        let text = json!({ "type": "string", "minLength": 1 });
        json!({ "required": [name], "properties": { name: text } })
    };
    json!({
        "type": "object",
        "required": required,
        "anyOf": [given("anthropicApiKey"), given("anthropicOAuthToken")],
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(field: &Field, required: bool, task: &Task) -> Value {
    let mut schema = match &field.kind {
        Kind::Text(bytes, _) => json!({ "type": "string", "maxLength": bytes }),
        // Empty text counts as absent.
        Kind::Choice(words) => {
            let words = words.iter().map(|word| json!(word));
            let all: Vec<Value> = words.chain([json!(""), Value::Null]).collect();
            json!({ "enum": all })
        }
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::Whole(most) => json!({ "type": "integer", "minimum": 1, "maximum": most(task) }),
        Kind::Amount(most) => json!({ "type": "number", "exclusiveMinimum": 0, "maximum": most }),
        Kind::Texts(items, bytes, _) => json!({
            "type": "array", "maxItems": items,
            "items": { "type": "string", "minLength": 1, "maxLength": bytes },
        }),
        Kind::Object(_) => object(field.name),
    };
    let Some(members) = schema.as_object_mut() else {
        return schema;
    };
    if required {
        members.insert("minLength".to_owned(), json!(1));
    } else if let Some(kind) = members.get_mut("type") {
        // Null says nothing, as if the field were left out.
        *kind = json!([kind.clone(), "null"]);
    }
    if let Some(default) = field.default.and_then(|default| default(task)) {
        members.insert("default".to_owned(), default);
    }
    if field.secret {
        members.insert("writeOnly".to_owned(), json!(true));
    }
    if let Some(meaning) = meaning(field.name) {
        members.insert("description".to_owned(), json!(without_links(meaning)));
    }
    schema
}

/// What `nested` checks, as far as a schema can say it.
fn object(name: &str) -> Value {
    let text = |bytes: u32| json!({ "type": "string", "maxLength": bytes });
    let named = |most: u32, value: Value| json!({ "type": "object", "maxProperties": most, "additionalProperties": value });
    let tools = json!({
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
    });
    match name {
        "labels" => named(32, text(128)),
        "environmentSecrets" => named(100, text(64 << 10)),
        "postExecutionActions" => named(32, json!({ "type": "object" })),
        "mcpConfig" => {
            let server = json!({
                "type": "object",
                "properties": { "command": text(4096), "url": text(4096) },
                "anyOf": [{ "required": ["command"] }, { "required": ["url"] }],
                // The rest is between the CLI and the server.
                "additionalProperties": true,
            });
            json!({
                "type": "object",
                "required": ["mcpServers"],
                "properties": { "mcpServers": named(64, server) },
                "additionalProperties": false,
            })
        }
        "subagents" => {
            let matter = json!({
                "type": "object",
                "required": ["description"],
                "properties": {
                    "description": text(8 << 10),
                    "name": text(128),
                    "model": text(128),
                    "color": text(128),
                    "tools": tools,
                    "disallowedTools": tools,
                },
                "additionalProperties": false,
            });
            named(64, document(matter, &["frontmatter", "content"]))
        }
        "slashCommands" => {
            let matter = json!({
                "type": "object",
                "properties": {
                    "description": text(8 << 10),
                    "argument-hint": text(8 << 10),
                    "model": text(8 << 10),
                    "allowed-tools": tools,
                },
                "additionalProperties": false,
            });
            named(64, document(matter, &["content"]))
        }
        _ => json!({ "type": "object" }),
    }
}

fn document(matter: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "required": required,
        "properties": {
            "frontmatter": matter,
            "content": { "type": "string", "maxLength": 256 << 10 },
        },
        "additionalProperties": false,
    })
}

/// The last cell of the field's row.
fn meaning(name: &str) -> Option<&'static str> {
    let row = PAGE.lines().find_map(|line| {
        line.strip_prefix("| `")?
            .strip_prefix(name)?
            .strip_prefix("` |")
    })?;
    let (_, meaning) = row.trim_end_matches([' ', '|']).rsplit_once(" | ")?;
    Some(meaning.trim())
}

/// `[words](target)` leads nowhere outside the page.
fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, words, after)) = link(rest) {
        plain.push_str(before);
        plain.push_str(words);
        rest = after;
    }
    plain.push_str(rest);
    plain
}

/// What stands before the first link, its words, and what stands after it.
fn link(text: &str) -> Option<(&str, &str, &str)> {
    let (head, tail) = text.split_once("](")?;
    let (before, words) = head.rsplit_once('[')?;
    let (_, after) = tail.split_once(')')?;
    Some((before, words, after))
}

#[cfg(test)]
#[path = "json_schema_tests.rs"]
mod tests;
