//! `GET /openapi.json` against the router and against what the gateway answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::config::{Sources, load};
use crate::http::openapi::document;
use crate::task::{Approval, Record, report};

fn whole() -> Value {
    document(&load(&Sources::default()).unwrap().task).unwrap()
}

/// Every operation as `get /path`.
fn documented(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{method} {path}"))
        })
        .collect()
}

/// Every `.route("/path", get(…).post(…))` of the sources beside this one.
fn routed() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        let source: String = fs::read_to_string(&path).unwrap();
        // However it is broken into lines.
        let source: String = source.split_whitespace().collect();
        for route in source.split(".route(\"").skip(1) {
            let (path, rest) = route.split_once('"').unwrap();
            let handlers = rest.split(".route(").next().unwrap();
            let path = path.replace("{*", "{");
            for method in ["get", "post", "put", "patch", "delete"] {
                let names = |prefix: &str| handlers.contains(&format!("{prefix}{method}("));
                if names(",") || names(").") {
                    found.insert(format!("{method} {path}"));
                }
            }
        }
    }
    assert!(found.len() >= 15, "{found:?}");
    found
}

#[test]
fn every_route_is_documented_and_every_documented_one_is_there() {
    assert_eq!(routed(), documented(&whole()));
}

#[tokio::test]
async fn the_router_knows_every_documented_operation() {
    let gateway = Gateway::start(HANGS, &[]).await;
    let served: Value = gateway.get("/openapi.json").await.json().await.unwrap();
    assert_eq!(served, whole());
    for operation in documented(&served) {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path
            .replace("{id}", "none")
            .replace("{path}", "a/b")
            .replace("{call}", "x");
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let answer = gateway.request(method, &path).send().await.unwrap();
        assert_ne!(answer.status(), 405, "{operation}");
        if answer.status() == 404 {
            let body: Value = answer.json().await.unwrap();
            assert_ne!(body["code"], "not-found", "{operation}");
        }
    }
    gateway.stop().await;
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn references_lead_somewhere_and_every_schema_is_used_and_valid() {
    let document = whole();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in &found {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::meta::is_valid(schema), "{name}");
        let told = ["Introduction", "Decision"].contains(&name.as_str());
        let used = found.contains(&format!("#/components/schemas/{name}").as_str());
        assert!(used || told, "{name}");
    }
    let mut ids = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} twice");
        }
    }
}

#[test]
fn every_code_is_told_of() {
    let text = whole().to_string();
    // What no path of the document can come to.
    let elsewhere = ["not-found", "method-not-allowed"];
    let codes = crate::http::CODES.iter().chain(crate::admission::CODES);
    for code in codes.filter(|code| !elsewhere.contains(code)) {
        assert!(text.contains(&format!("`{code}`")), "{code}");
    }
}

/// Checks answers against the document, strictly: what it does not name must not be there.
struct Checker(Value);

impl Checker {
    fn new() -> Self {
        let mut document = whole();
        close(&mut document["components"]["schemas"]);
        Self(document)
    }

    fn check(&self, schema: &str, answer: &Value) {
        let schema = json!({
            "$ref": format!("#/components/schemas/{schema}"),
            "components": self.0["components"],
        });
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(answer)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?} in {answer:#}");
    }
}

/// Lets no object have a member that its schema does not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            let names = fields.get("properties").is_some_and(Value::is_object);
            // The credential rule of requests names a member beside its schema.
            if names && fields.get("type").is_some_and(|kind| kind == "object") {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[tokio::test]
async fn what_the_gateway_answers_is_what_the_document_says() {
    let gateway = Gateway::start(DIES, &[("GATEHOUSE__WEBHOOK__RETRY", "0s")]).await;
    let checker = Checker::new();
    let get = async |path: &str| -> Value { gateway.get(path).await.json().await.unwrap() };

    checker.check("Health", &get("/health?verbose=true").await);
    checker.check("Readiness", &get("/ready").await);
    let mut request = async_task("t1");
    request["labels"] = json!({ "team": "a" });
    request["metadata"] = json!({ "a": { "b": 1 } });
    request["useNamedPipe"] = json!(true);
    let accepted = gateway.request(Method::POST, "/run-async");
    let accepted = accepted.header("idempotency-key", "k").json(&request);
    let accepted: Value = accepted.send().await.unwrap().json().await.unwrap();
    checker.check("Accepted", &accepted);
    checker.check("Queue", &get("/tasks/status").await);
    gateway.over(&"t1".parse().unwrap()).await;
    checker.check("Task", &get("/tasks/t1").await);
    checker.check("TaskPage", &get("/tasks?label=team:a").await);
    checker.check("Artifacts", &get("/tasks/t1/artifacts").await);
    checker.check("Delivery", &get("/tasks/t1/deliveries").await);
    for path in ["/tasks/none", "/tasks?limit=0", "/nowhere"] {
        checker.check("Error", &get(path).await);
    }
    let over = gateway.post("/cancel/t1", &json!({})).await;
    checker.check("Error", &over.json().await.unwrap());
    let refused = gateway.post("/run", &json!({ "promt": 1 })).await;
    checker.check("Error", &refused.json().await.unwrap());

    let stream = gateway.post("/run", &task()).await.text().await.unwrap();
    let data = |name: &str| -> Value {
        let (_, event) = stream.split_once(&format!("event: {name}\n")).unwrap();
        let data = event.lines().next().unwrap().strip_prefix("data: ");
        serde_json::from_str(data.unwrap()).unwrap()
    };
    checker.check("Introduction", &data("task"));
    checker.check("Report", &data("done"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_to_a_person_and_its_answer_are_what_the_document_says() {
    let key = "an-operators-key";
    let gateway = Gateway::start(HANGS, &[("GATEHOUSE_ADMIN_KEY", key)]).await;
    let checker = Checker::new();
    gateway.post("/run-async", &async_task("t1")).await;
    let id = "t1".parse().unwrap();
    let approval: Approval = serde_json::from_value(json!({
        "call": "toolu_1", "tool": "Bash", "subagent": "s", "input": { "command": "ls" },
        "redacted": false, "plugins": ["p"], "reason": "r", "state": "pending",
        "requestedAt": "2026-01-02T03:04:05Z", "expiresAt": "2999-01-02T03:04:05Z",
    }))
    .unwrap();
    assert!(
        gateway
            .app
            .tasks
            .request_approval(&id, &approval)
            .await
            .unwrap()
    );
    let list: Value = gateway
        .get("/tasks/t1/approvals")
        .await
        .json()
        .await
        .unwrap();
    checker.check("Approval", &list["approvals"][0]);

    let answer = gateway
        .request(Method::POST, "/tasks/t1/approvals/toolu_1")
        .bearer_auth(key)
        .json(&json!({ "decision": "allow", "reason": "r", "input": { "command": "pwd" } }));
    let answer: Value = answer.send().await.unwrap().json().await.unwrap();
    checker.check("Approval", &answer);
    assert_eq!(answer["state"], "allowed");
    let again = gateway
        .request(Method::POST, "/tasks/t1/approvals/toolu_1")
        .bearer_auth(key)
        .json(&json!({ "decision": "deny" }));
    problem(again.send().await.unwrap(), 409, "approval-decided").await;
    gateway.stop().await;
}

#[test]
fn a_record_with_everything_in_it_is_documented() {
    let checker = Checker::new();
    let at = "2026-01-02T03:04:05Z";
    let agent = json!({
        "result": "r", "turns": 1, "costUsd": 0.5, "sessionId": "s", "usage": { "requests": 1 },
        "terminalReason": "t", "deniedCalls": 1,
    });
    let file = json!({
        "originalPath": "a", "gcsPath": "file:///a", "sizeBytes": 1, "contentType": "text/plain",
        "sha256": "00",
    });
    let record: Record = serde_json::from_value(json!({
        "taskId": "t1", "status": "cancelled", "phase": "ended", "reason": "internal",
        "executionMode": "async", "caller": "anonymous", "createdAt": at, "idempotency": "00",
        "startedAt": at, "completedAt": at, "cancelledAt": at, "logsPath": "l",
        "encryptedPayloadPath": "p", "callbackUrl": "http://x/", "labels": { "a": "b" },
        "metadata": { "a": { "b": 1 } }, "effective": { "maxTurns": 6 }, "pluginSet": "r",
        "pendingApprovals": 1, "detach": true, "executionName": "local/1", "attempt": 1,
        "cancel": { "at": at, "by": "caller" }, "isolation": { "level": "uid" }, "error": "e",
        "exitCode": 130, "agent": agent,
        "repository": { "url": "https://x/", "branch": "main", "commit": "00" },
        "actions": { "git": { "status": "ok", "result": { "sha": "a" } }, "x": { "status": "error", "error": "e" } },
        "uploadedFiles": [file], "warnings": ["w"], "lastSequence": 7,
    }))
    .unwrap();
    let mut task = serde_json::to_value(&record).unwrap();
    let report = Value::Object(report(&record));
    checker.check("Report", &report);
    let fields = task.as_object_mut().unwrap();
    for (name, value) in report.as_object().unwrap() {
        fields.entry(name).or_insert(value.clone());
    }
    checker.check("Task", &task);
}

/// The fields of a struct of `task/record.rs`, as JSON has them.
fn fields_of(name: &str) -> Vec<String> {
    let source = include_str!("../../task/record.rs");
    let (_, body) = source.split_once(&format!("pub struct {name} {{")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let fields = body.lines().filter_map(|line| {
        let (field, _) = line.trim().strip_prefix("pub ")?.split_once(':')?;
        let mut words = field.split('_');
        let first = words.next()?.to_owned();
        Some(words.fold(first, |mut name, word| {
            name.push_str(&word[..1].to_uppercase());
            name.push_str(&word[1..]);
            name
        }))
    });
    let fields: Vec<String> = fields.collect();
    assert!(fields.len() >= 3, "{name}: {fields:?}");
    fields
}

#[test]
fn every_field_of_record_and_report_is_documented() {
    let document = whole();
    let schemas = &document["components"]["schemas"];
    let task = &schemas["Task"]["properties"];
    let report = include_str!("../../task/report.rs");
    let reported: Vec<&str> = report
        .split("report.add(")
        .skip(1)
        .map(|rest| rest.split('"').nth(1).unwrap())
        .collect();
    assert!(reported.len() >= 10, "{reported:?}");
    for name in reported {
        assert!(
            schemas["Report"]["properties"].get(name).is_some(),
            "{name}"
        );
        assert!(task.get(name).is_some(), "{name}");
    }
    for (name, properties) in [
        ("Record", task),
        ("AgentSummary", &task["agent"]["properties"]),
        ("ClonedRepository", &task["repository"]["properties"]),
        ("ActionResult", &schemas["ActionResult"]["properties"]),
    ] {
        for field in fields_of(name) {
            assert!(properties.get(&field).is_some(), "{name}: {field}");
        }
    }
}

#[test]
fn the_examples_are_what_the_document_takes() {
    // As it is: what a front matter may hold is the CLI's to know.
    let checker = Checker(whole());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tasks");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let mut request: Value =
            serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        // The command line adds the caller's own key.
        request["anthropicApiKey"] = json!("k");
        let schema = match request.get("callbackUrl") {
            Some(_) => "RunAsyncRequest",
            None => "RunRequest",
        };
        checker.check(schema, &request);
        seen += 1;
    }
    assert!(seen > 0);
}
