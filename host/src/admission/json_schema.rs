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
    let properties: Map<String, Value> = FIELDS
        .iter()
        .filter(|field| !field.not_yet && field.only.is_none_or(|(only, _)| only == mode))
        .map(|field| (field.name.to_owned(), property(field, task)))
        .collect();
    let required: &[&str] = match mode {
        Mode::Sync => &["prompt"],
        Mode::Async => &["prompt", "callbackUrl"],
    };
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

fn property(field: &Field, task: &Task) -> Value {
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
    if field.name == "prompt" {
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
        members.insert("description".to_owned(), json!(meaning));
    }
    schema
}

/// What `nested` checks, as far as a schema can say it.
fn object(name: &str) -> Value {
    let text = |bytes: u32| json!({ "type": "string", "maxLength": bytes });
    let named = |most: u32, value: Value| json!({ "type": "object", "maxProperties": most, "additionalProperties": value });
    match name {
        "labels" => named(32, text(128)),
        "environmentSecrets" => named(100, text(64 << 10)),
        "postExecutionActions" => named(32, json!({ "type": "object" })),
        "mcpConfig" => {
            let server = json!({
                "type": "object",
                "properties": { "command": text(4096), "url": text(4096) },
                "anyOf": [{ "required": ["command"] }, { "required": ["url"] }],
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
                "properties": { "description": text(8 << 10) },
            });
            named(64, document(matter, &["frontmatter", "content"]))
        }
        "slashCommands" => named(64, document(json!({ "type": "object" }), &["content"])),
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

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;
    use crate::admission::Admission;
    use crate::config::{Sources, load};

    fn task() -> Task {
        load(&Sources::default()).unwrap().task
    }

    fn validator(mode: Mode) -> jsonschema::Validator {
        jsonschema::draft202012::new(&json_schema(mode, &task())).unwrap()
    }

    fn admission() -> Admission {
        Admission::new(&load(&Sources::default()).unwrap())
    }

    /// A request that uses every field that is available.
    fn full(mode: Mode) -> Value {
        let mut request = json!({
            "prompt": "x", "anthropicApiKey": "k", "anthropicOAuthToken": null, "systemPrompt": "s",
            "appendSystemPrompt": "", "allowedTools": ["Read"], "disallowedTools": [],
            "permissionMode": "plan", "maxTurns": 3, "timeoutMinutes": 5, "maxBudgetUsd": 0.5,
            "model": "claude-x", "fallbackModel": "", "cwdRelative": "a/b",
            "preExecutionCommands": ["true"], "environmentSecrets": { "A": "b" },
            "postExecutionActions": { "uploadFiles": { "globPatterns": ["*"] } },
            "metadata": { "a": [1] }, "labels": { "team": "a" },
            "mcpConfig": { "mcpServers": { "a": { "command": "c", "args": ["x"] } } },
            "subagents": { "a": { "frontmatter": { "description": "d", "model": "m" }, "content": "c" } },
            "detach": true, "useNamedPipe": false,
        });
        if mode == Mode::Async {
            request["callbackUrl"] = json!("https://example.com/hook");
            request["taskId"] = json!("t-1");
        }
        request
    }

    #[test]
    fn a_request_with_every_field_is_taken_by_check_and_schema_alike() {
        for mode in [Mode::Sync, Mode::Async] {
            let request = full(mode);
            let bytes = serde_json::to_vec(&request).unwrap();
            admission().check(&bytes, mode).unwrap();
            let validator = validator(mode);
            let errors: Vec<String> = validator
                .iter_errors(&request)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{errors:#?}");
        }
    }

    #[test]
    fn every_field_that_is_available_is_described_with_its_meaning() {
        let (sync, later) = (
            json_schema(Mode::Sync, &task()),
            json_schema(Mode::Async, &task()),
        );
        for field in FIELDS.iter().filter(|field| !field.not_yet) {
            let found = [&sync, &later]
                .iter()
                .find_map(|schema| schema["properties"].get(field.name));
            let described = found.and_then(|it| it["description"].as_str());
            assert!(described.is_some_and(|it| it.len() > 5), "{}", field.name);
        }
        assert!(meaning("model").unwrap().starts_with("The model."));
        assert!(sync["properties"].get("callbackUrl").is_none());
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_by_check_and_schema_alike() {
        for mode in [Mode::Sync, Mode::Async] {
            let validator = validator(mode);
            let names: Vec<String> = full(mode).as_object().unwrap().keys().cloned().collect();
            for name in names {
                for wrong in [
                    json!(7.5),
                    json!("§"),
                    json!([[1]]),
                    json!({ "§": 1 }),
                    json!(true),
                ] {
                    let mut request = full(mode);
                    request[&name] = wrong;
                    let bytes = serde_json::to_vec(&request).unwrap();
                    let taken = admission().check(&bytes, mode).is_ok();
                    // Whatever is taken fits the schema, and no other kind of value does.
                    let fits = validator.is_valid(&request);
                    assert!(fits || !taken, "{name}: {}", request[&name]);
                    let kind_is_right = !admission()
                        .check(&bytes, mode)
                        .is_err_and(|refusal| refusal.code == "wrong-type");
                    assert!(kind_is_right || !fits, "{name}: {}", request[&name]);
                }
            }
        }
    }

    #[test]
    fn what_is_refused_for_its_shape_does_not_fit_the_schema() {
        let table = include_str!("../../../tests/cases/requests/refused.json");
        let cases: Vec<Value> = serde_json::from_str(table).unwrap();
        let shapes = [
            "unknown-field",
            "required",
            "credential-required",
            "wrong-type",
            "body-not-an-object",
        ];
        let mut seen = 0;
        for case in &cases {
            let mode = match case["endpoint"].as_str().unwrap() {
                "run" => Mode::Sync,
                _ => Mode::Async,
            };
            let shape = shapes.contains(&case["code"].as_str().unwrap());
            let Some(body) = case.get("body").filter(|_| shape) else {
                continue;
            };
            // What an action takes is its plugin's to know; what a front matter takes is the CLI's. And
            // a whole number with a fraction of zero is whole.
            let field = case["field"].as_str().unwrap_or_default();
            let whole = ["maxTurns", "timeoutMinutes"].contains(&field);
            if whole || field.starts_with("postExecutionActions") || field.contains("frontmatter") {
                continue;
            }
            seen += 1;
            assert!(!validator(mode).is_valid(body), "{}", case["name"]);
        }
        assert!(seen >= 20, "{seen}");
    }
}
