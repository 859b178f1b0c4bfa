#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use serde::Deserialize;
use serde_json::json;

use super::super::{Admission, CODES, PermissionMode};
use super::*;
use crate::config::{Sources, load};

/// A case of `tests/cases/requests/refused.json`, which the integration tests send over HTTP too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    endpoint: String,
    /// A body as JSON …
    body: Option<Value>,
    /// … or as text, where it is none.
    raw: Option<String>,
    status: u16,
    code: String,
    field: Option<String>,
}

fn admission(settings: &[(&str, &str)]) -> Admission {
    let environment = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Admission::new(
        &load(&Sources {
            environment,
            ..Sources::default()
        })
        .unwrap(),
    )
}

fn check(body: Value, mode: Mode) -> Result<Draft, Refusal> {
    admission(&[]).check(body.to_string().as_bytes(), mode)
}

fn minimal() -> Value {
    json!({ "prompt": "x", "anthropicApiKey": "k" })
}

fn with(fields: Value) -> Value {
    let mut body = minimal();
    json_patch::merge(&mut body, &fields);
    body
}

/// Every field that this version carries out, with a value that it takes.
fn everything() -> Value {
    json!({
        "prompt": "Fix the tests",
        "anthropicApiKey": "sk-ant-1",
        "systemPrompt": "You are careful.",
        "appendSystemPrompt": "Very.",
        "allowedTools": ["Read", "Bash(npm run test:*)"],
        "disallowedTools": ["WebFetch"],
        "permissionMode": "acceptEdits",
        "maxTurns": 10,
        "timeoutMinutes": 5,
        "maxBudgetUsd": 2.5,
        "model": "claude-sonnet-4-5[1m]",
        "fallbackModel": "haiku",
        "cwdRelative": "packages/api",
        "preExecutionCommands": ["npm ci"],
        "postExecutionActions": { "uploadFiles": { "globPatterns": ["dist/**"] }, "notify": {} },
        "environmentSecrets": { "NPM_TOKEN": "npm-1" },
        "metadata": { "ticket": 7 },
        "labels": { "team": "payments" },
        "mcpConfig": { "mcpServers": { "files": { "command": "npx", "env": { "T": "${NPM_TOKEN}" } } } },
        "subagents": {
            "reviewer": { "frontmatter": { "description": "Reviews", "tools": ["Read"] }, "content": "Review." }
        },
        "requiredMcpServers": ["files"],
        "slashCommands": { "fix": { "frontmatter": { "description": "Fixes" }, "content": "Fix $0." } },
        "repoConfig": "memory",
        "envFile": "workspace",
        "outputSchema": { "type": "object" },
        "gitRepo": "https://example.com/a.git",
        "gitBranch": "main",
        "gitDepth": 3,
        "gitSubmodules": true,
        "gitLfs": true,
        "sshKey": KEY,
        "gitToken": "token-1",
        "gitAccess": "none",
        "callbackUrl": "https://example.com/hook?token=1",
        "taskId": "task-1",
    })
}

/// Of the form that is asked for, and nobody's: `openssh-key-v1`, without a cipher.
const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAAB\n-----END OPENSSH PRIVATE KEY-----\n";

#[test]
fn every_malformed_request_is_refused_with_status_code_and_field() {
    let text = include_str!("../../../tests/cases/requests/refused.json");
    let cases: Vec<Case> = serde_json::from_str(text).unwrap();
    assert!(cases.len() >= 80);
    let admission = admission(&[]);
    let mut wrong = Vec::new();
    for case in &cases {
        let body = case
            .raw
            .clone()
            .or_else(|| case.body.as_ref().map(Value::to_string))
            .unwrap();
        let mode = if case.endpoint == "run" {
            Mode::Sync
        } else {
            Mode::Async
        };
        match admission.check(body.as_bytes(), mode) {
            Ok(_) => wrong.push(format!("{}: was taken", case.name)),
            Err(refusal) => {
                let found = (
                    refusal.status,
                    refusal.code.as_str(),
                    refusal.field.as_deref(),
                );
                if found != (case.status, case.code.as_str(), case.field.as_deref()) {
                    wrong.push(format!("{}: {refusal:?}", case.name));
                }
                if format!("{refusal:?}").contains("s3cr3t") {
                    wrong.push(format!("{}: repeats a value: {refusal:?}", case.name));
                }
                assert!(CODES.contains(&refusal.code.as_str()), "{}", refusal.code);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_value_longer_than_its_bound_is_refused_and_one_at_the_bound_is_taken() {
    let at_and_above = |field: &str, bound: usize, make: &dyn Fn(usize) -> Value| {
        assert!(check(with(make(bound)), Mode::Sync).is_ok(), "{field}");
        let refusal = check(with(make(bound + 1)), Mode::Sync).unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.field.as_deref()),
            ("out-of-range", Some(field)),
            "{refusal:?}"
        );
    };
    at_and_above(
        "prompt",
        1_000_000,
        &|length| json!({ "prompt": "x".repeat(length) }),
    );
    at_and_above(
        "anthropicApiKey",
        4096,
        &|length| json!({ "anthropicApiKey": "x".repeat(length) }),
    );
    at_and_above(
        "systemPrompt",
        100_000,
        &|length| json!({ "systemPrompt": "x".repeat(length) }),
    );
    at_and_above(
        "preExecutionCommands[0]",
        8192,
        &|length| json!({ "preExecutionCommands": ["x".repeat(length)] }),
    );
    at_and_above(
        "environmentSecrets.A",
        65536,
        &|length| json!({ "environmentSecrets": { "A": "x".repeat(length) } }),
    );
    at_and_above(
        "metadata",
        32 << 10,
        &|length| json!({ "metadata": { "a": "x".repeat(length - 8) } }),
    );
    at_and_above(
        "cwdRelative",
        1024,
        &|length| json!({ "cwdRelative": "x".repeat(length) }),
    );
    at_and_above(
        "allowedTools",
        200,
        &|length| json!({ "allowedTools": vec!["Read"; length] }),
    );
    at_and_above("maxTurns", 1000, &|turns| json!({ "maxTurns": turns }));
    at_and_above(
        "timeoutMinutes",
        1440,
        &|minutes| json!({ "timeoutMinutes": minutes }),
    );
    let many: Map<_, _> = (0..9)
        .map(|n| (format!("A{n}"), Value::from("x".repeat(65_000))))
        .collect();
    let refusal = check(with(json!({ "environmentSecrets": many })), Mode::Sync).unwrap_err();
    assert_eq!(
        (refusal.code.as_str(), refusal.field.as_deref()),
        ("out-of-range", Some("environmentSecrets"))
    );
}

/// Text of so many bytes.
fn xs(length: usize) -> String {
    "x".repeat(length)
}

/// So many names, each with this value.
fn names(count: usize, value: &Value) -> Value {
    let names = (0..count).map(|n| (format!("A{n}"), value.clone()));
    Value::Object(names.collect())
}

/// An object of so many bytes of JSON: one that has `PAD` somewhere, filled up there.
fn filled(length: usize, object: &Value) -> Value {
    let text = object.to_string();
    let room = length - (text.len() - "PAD".len());
    serde_json::from_str(&text.replace("PAD", &xs(room))).unwrap()
}

#[test]
fn every_other_documented_bound_holds_too() {
    type Make = fn(usize) -> Value;
    let bounds: [(&str, usize, Make); 23] = [
        (
            "anthropicOAuthToken",
            4096,
            |n| json!({ "anthropicOAuthToken": xs(n) }),
        ),
        (
            "appendSystemPrompt",
            100_000,
            |n| json!({ "appendSystemPrompt": xs(n) }),
        ),
        (
            "allowedTools[0]",
            500,
            |n| json!({ "allowedTools": [xs(n)] }),
        ),
        (
            "disallowedTools",
            200,
            |n| json!({ "disallowedTools": vec!["Read"; n] }),
        ),
        (
            "disallowedTools[0]",
            500,
            |n| json!({ "disallowedTools": [xs(n)] }),
        ),
        ("maxBudgetUsd", 1_000_000, |n| json!({ "maxBudgetUsd": n })),
        ("model", 128, |n| json!({ "model": xs(n) })),
        ("fallbackModel", 128, |n| json!({ "fallbackModel": xs(n) })),
        (
            "preExecutionCommands",
            50,
            |n| json!({ "preExecutionCommands": vec!["true"; n] }),
        ),
        (
            "postExecutionActions.git",
            64 << 10,
            |n| json!({ "postExecutionActions": { "git": filled(n, &json!({ "a": "PAD" })) } }),
        ),
        (
            "environmentSecrets",
            100,
            |n| json!({ "environmentSecrets": names(n, &json!("v")) }),
        ),
        ("mcpConfig", 100_000, |n| {
            let server = json!({ "command": "x", "args": ["PAD"] });
            json!({ "mcpConfig": filled(n, &json!({ "mcpServers": { "a": server } })) })
        }),
        (
            "mcpConfig.mcpServers",
            64,
            |n| json!({ "mcpConfig": { "mcpServers": names(n, &json!({ "command": "x" })) } }),
        ),
        ("subagents", 64, |n| {
            let agent = json!({ "frontmatter": { "description": "d" }, "content": "c" });
            json!({ "subagents": names(n, &agent) })
        }),
        (
            "slashCommands",
            64,
            |n| json!({ "slashCommands": names(n, &json!({ "content": "c" })) }),
        ),
        (
            "gitRepo",
            2048,
            |n| json!({ "gitRepo": format!("https://h/{}", xs(n - 10)) }),
        ),
        (
            "gitBranch",
            255,
            |n| json!({ "gitRepo": "https://h/r", "gitBranch": xs(n) }),
        ),
        (
            "gitDepth",
            10_000,
            |n| json!({ "gitRepo": "https://h/r", "gitDepth": n }),
        ),
        (
            "gitToken",
            4096,
            |n| json!({ "gitRepo": "https://h/r", "gitToken": xs(n) }),
        ),
        (
            "outputSchema",
            100_000,
            |n| json!({ "outputSchema": filled(n, &json!({ "description": "PAD" })) }),
        ),
        ("labels", 32, |n| json!({ "labels": names(n, &json!("v")) })),
        (
            "labels.team",
            128,
            |n| json!({ "labels": { "team": xs(n) } }),
        ),
        ("metadata", 16, |n| {
            let deep = (1..n).fold(json!({}), |inner, _| json!({ "a": inner }));
            json!({ "metadata": deep })
        }),
    ];
    let refused = |fields: Value, mode, field: &str| {
        let refusal = check(with(fields), mode).unwrap_err();
        let found = (refusal.code.as_str(), refusal.field.as_deref());
        assert_eq!(found, ("out-of-range", Some(field)), "{refusal:?}");
    };
    for (field, bound, make) in bounds {
        let taken = check(with(make(bound)), Mode::Sync);
        assert!(taken.is_ok(), "{field}: {:?}", taken.unwrap_err());
        refused(make(bound + 1), Mode::Sync, field);
    }
    let url = |length: usize| format!("https://h/{}", xs(length - 10));
    let fields = |url: String, id: String| json!({ "callbackUrl": url, "taskId": id });
    assert!(check(with(fields(url(2048), xs(128))), Mode::Async).is_ok());
    refused(fields(url(2049), xs(128)), Mode::Async, "callbackUrl");
    refused(fields(url(2048), xs(129)), Mode::Async, "taskId");
    let many = json!({ "requiredMcpServers": vec!["a"; 65] });
    refused(many, Mode::Sync, "requiredMcpServers");
    let key = KEY.to_owned() + &"\n".repeat(16 << 10);
    let key = json!({ "gitRepo": "git@h:r", "sshKey": key });
    refused(key, Mode::Sync, "sshKey");
}

#[test]
fn bytes_that_are_no_text_are_no_json() {
    let refusal = admission(&[])
        .check(b"{\"prompt\":\"\xff\"}", Mode::Sync)
        .unwrap_err();
    assert_eq!(refusal.code, "invalid-json");
    assert_eq!(
        refusal.message,
        "the body is no valid JSON (line 1, column 12)"
    );
}

#[test]
fn callers_of_the_node_service_read_the_sentences_they_know() {
    let sentence = |body: Value| check(body, Mode::Async).unwrap_err().message;
    let credential = "Either anthropicApiKey or anthropicOAuthToken is required";
    assert_eq!(sentence(json!({})), "prompt is required");
    assert_eq!(
        sentence(json!({ "prompt": "x" })),
        "callbackUrl is required for async tasks"
    );
    assert_eq!(
        sentence(json!({ "prompt": "x", "callbackUrl": "https://h/" })),
        credential
    );
    assert_eq!(
        sentence(with(json!({ "callbackUrl": "x" }))),
        "callbackUrl is not a valid URL"
    );
    assert_eq!(
        sentence(with(json!({ "callbackUrl": "ftp://h/" }))),
        "callbackUrl must use http or https protocol"
    );
    assert_eq!(
        sentence(with(
            json!({ "callbackUrl": "https://h/", "taskId": "a b" })
        )),
        "taskId must be URL-safe (alphanumeric, underscore, hyphen only)"
    );
    assert_eq!(
        check(json!({ "prompt": "x" }), Mode::Sync)
            .unwrap_err()
            .message,
        credential
    );
}

#[test]
fn a_mistyped_field_is_answered_with_the_one_that_was_meant() {
    let message = |name: &str| {
        check(with(json!({ name: 1 })), Mode::Sync)
            .unwrap_err()
            .message
    };
    assert_eq!(
        message("allowed_tools"),
        "allowed_tools is no known field; did you mean `allowedTools`?"
    );
    assert_eq!(
        message("timeoutMinute"),
        "timeoutMinute is no known field; did you mean `timeoutMinutes`?"
    );
    assert_eq!(message("temperature"), "temperature is no known field");
    assert_eq!(
        message("a secret in a wrong place"),
        "the body has a field of unknown name"
    );
    assert_eq!(
        message("mcpConfigJson"),
        "mcpConfigJson is not taken any more; send its content as an object in mcpConfig"
    );
}

#[test]
fn defaults_are_applied_once_and_stand_in_the_draft() {
    let draft = check(minimal(), Mode::Sync).unwrap();
    assert_eq!(
        Value::Object(draft.value),
        json!({ "prompt": "x", "anthropicApiKey": "k", "permissionMode": "default", "maxTurns": 6, "timeoutMinutes": 55 })
    );
    assert_eq!(
        (draft.request.max_turns, draft.request.timeout_minutes),
        (6, 55)
    );
    assert!(
        draft.request.allowed_tools.is_empty()
            && draft.request.model.is_none()
            && !draft.request.detach
    );

    let configured = admission(&[
        ("ALLOWED_TOOLS", "Read,Grep"),
        ("PERMISSION_MODE", "plan"),
        ("GATEHOUSE__TASK__MODEL", "opus"),
        ("GATEHOUSE__TASK__MAX_TURNS", "3"),
    ]);
    let draft = configured
        .check(minimal().to_string().as_bytes(), Mode::Sync)
        .unwrap();
    assert_eq!(draft.value["allowedTools"], json!(["Read", "Grep"]));
    assert_eq!(draft.request.permission_mode, PermissionMode::Plan);
    assert_eq!(
        (draft.request.model.as_deref(), draft.request.max_turns),
        (Some("opus"), 3)
    );

    // A request's own list stands, also an empty one.
    let body = with(json!({ "allowedTools": [], "model": "haiku" })).to_string();
    let draft = configured.check(body.as_bytes(), Mode::Sync).unwrap();
    assert_eq!(
        (
            draft.value["allowedTools"].clone(),
            draft.value["model"].clone()
        ),
        (json!([]), json!("haiku"))
    );
}

#[test]
fn null_and_empty_text_count_as_left_out() {
    let body = json!({
        "prompt": "x", "anthropicApiKey": "k", "anthropicOAuthToken": "", "model": "", "systemPrompt": null,
        "permissionMode": "", "maxTurns": null, "metadata": null, "gitRepo": "", "sshKey": null, "callbackUrl": ""
    });
    let draft = check(body, Mode::Sync).unwrap();
    assert_eq!(draft.request.max_turns, 6);
    assert!(!draft.value.contains_key("gitRepo") && !draft.value.contains_key("systemPrompt"));
}

#[test]
fn the_api_key_goes_before_the_token_and_what_has_no_effect_is_said() {
    let body = json!({
        "prompt": "x", "anthropicApiKey": "k", "anthropicOAuthToken": "t", "useNamedPipe": false, "detach": true,
        "callbackUrl": "https://example.com/"
    });
    let draft = check(body, Mode::Async).unwrap();
    assert!(draft.request.anthropic_oauth_token.is_none());
    assert_eq!(draft.request.secrets().len(), 1);
    assert_eq!(draft.warnings.len(), 3, "{:?}", draft.warnings);
    for name in ["anthropicOAuthToken", "useNamedPipe", "detach"] {
        assert!(!draft.value.contains_key(name));
        assert!(
            draft
                .warnings
                .iter()
                .any(|warning| warning.starts_with(name))
        );
    }
}

#[test]
fn every_field_of_the_schema_is_taken_and_typed() {
    let draft = check(everything(), Mode::Async).unwrap();
    let request = &draft.request;
    assert_eq!(request.allowed_tools, ["Read", "Bash(npm run test:*)"]);
    assert_eq!(request.max_budget_usd, Some(2.5));
    assert_eq!(
        request.callback_url.as_ref().unwrap().as_str(),
        "https://example.com/hook?token=1"
    );
    assert_eq!(request.task_id.as_ref().unwrap().as_str(), "task-1");
    let action = &request.post_execution_actions[0];
    assert_eq!(
        (action.key.as_str(), action.plugin.as_str()),
        ("uploadFiles", "upload-files")
    );
    assert_eq!(action.options, json!({ "globPatterns": ["dist/**"] }));
    assert_eq!(request.secrets().len(), 4);
    assert!(request.subagents.contains_key("reviewer"));
    assert_eq!(request.labels["team"], "payments");
    // What is left over stands in the schema for another reason.
    let sent = everything();
    let left: Vec<_> = FIELDS
        .iter()
        .filter(|field| sent.get(field.name).is_none())
        .map(|field| field.name)
        .collect();
    assert_eq!(left, ["anthropicOAuthToken", "detach", "useNamedPipe"]);
    for field in FIELDS.iter().filter(|field| field.default.is_some()) {
        assert!(
            field.shown,
            "{} has a default that nobody would see",
            field.name
        );
    }
}

#[test]
fn what_admission_wrote_is_read_back_by_the_job() {
    let draft = check(everything(), Mode::Async).unwrap();
    let again = Request::from_admitted(&draft.value).unwrap();
    assert_eq!(again.pre_execution_commands, ["npm ci"]);
    let mut damaged = draft.value.clone();
    damaged.insert("maxTurns".into(), "s3cr3t".into());
    let refusal = Request::from_admitted(&damaged).unwrap_err();
    assert_eq!(refusal.status, 500);
    assert!(!format!("{refusal:?}").contains("s3cr3t"));
}

#[test]
fn no_debug_output_holds_a_value_of_the_request() {
    let body = with(
        json!({ "environmentSecrets": { "A": "s3cr3t" }, "anthropicApiKey": "s3cr3t", "prompt": "s3cr3t" }),
    );
    let draft = check(body, Mode::Sync).unwrap();
    assert!(!format!("{draft:?}").contains("s3cr3t"));
}

#[test]
fn the_reference_page_and_the_schema_name_the_same_fields() {
    let page = include_str!("../../../docs/reference/request.md");
    let in_page: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let in_schema: Vec<_> = FIELDS.iter().map(|field| field.name).collect();
    assert_eq!(in_page, in_schema, "in the order of the schema");
    for field in FIELDS.iter() {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` ", field.name)))
            .unwrap();
        assert_eq!(row.contains("secret"), field.secret, "{}", field.name);
        assert_eq!(
            row.contains("`/run-async` only"),
            field.only.is_some(),
            "{}",
            field.name
        );
    }
    for code in CODES {
        assert!(page.contains(&format!("`{code}`")), "{code}");
    }
}
