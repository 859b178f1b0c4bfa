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
        "requiredMcpServers": ["a"], "outputSchema": { "type": "object" },
        "slashCommands": { "a": { "frontmatter": { "description": "d" }, "content": "c" } },
        "gitRepo": "https://example.com/a.git", "gitBranch": "main", "gitDepth": 1,
        "gitSubmodules": false, "gitLfs": false, "sshKey": null, "gitToken": "t", "gitAccess": "none",
        "repoConfig": "memory", "envFile": "none", "detach": true, "useNamedPipe": false,
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
        for field in &FIELDS {
            let here = field.only.is_none_or(|(only, _)| only == mode);
            assert_eq!(request.get(field.name).is_some(), here, "{}", field.name);
        }
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
fn every_field_is_described_with_its_meaning() {
    let (sync, later) = (
        json_schema(Mode::Sync, &task()),
        json_schema(Mode::Async, &task()),
    );
    for field in &FIELDS {
        let found = [&sync, &later]
            .iter()
            .find_map(|schema| schema["properties"].get(field.name));
        let described = found.and_then(|it| it["description"].as_str());
        assert!(described.is_some_and(|it| it.len() > 5), "{}", field.name);
    }
    assert!(meaning("model").unwrap().starts_with("The model."));
    assert!(sync["properties"].get("callbackUrl").is_none());
    assert_eq!(
        without_links("To [find tasks](../x.md) by."),
        "To find tasks by."
    );
    assert_eq!(without_links("`a[0]`, [b](c), d"), "`a[0]`, b, d");
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
