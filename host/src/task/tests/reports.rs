use serde_json::{Value, json};

use super::*;

#[test]
fn a_report_holds_what_callers_know_and_leaves_out_what_is_absent() {
    let mut record = record("a");
    record.status = Status::Completed;
    record.created_at = "2026-11-23T10:00:00Z".parse().unwrap();
    record.started_at = Some("2026-11-23T10:00:01.5Z".parse().unwrap());
    record.completed_at = Some("2026-11-23T10:00:03.7501Z".parse().unwrap());
    record.exit_code = Some(0);
    assert_eq!(
        Value::Object(report(&record)),
        json!({
            "taskId": "a",
            "status": "completed",
            "exitCode": 0,
            "logsPath": "file:///bucket/sessions/a/",
            "summary": {
                "durationMs": 2250,
                "startedAt": "2026-11-23T10:00:01.500Z",
                "completedAt": "2026-11-23T10:00:03.750Z",
            },
        })
    );
}

#[test]
fn a_report_holds_all_that_is_there() {
    let mut record = record("a");
    record.status = Status::Failed;
    record.reason = Some(Reason::MaxTurns);
    record.created_at = "2026-11-23T10:00:00Z".parse().unwrap();
    record.completed_at = Some("2026-11-23T10:00:01Z".parse().unwrap());
    record.cancelled_at = Some("2026-11-23T10:00:01Z".parse().unwrap());
    record.exit_code = Some(1);
    record.error = Some("too many turns".to_owned());
    record.metadata = json!({ "z": 1, "a": 2 }).as_object().cloned();
    record.labels.insert("team".to_owned(), "a".to_owned());
    record.agent = AgentSummary {
        result: Some("done".to_owned()),
        turns: Some(3),
        cost_usd: Some(0.25),
        session_id: Some("s".to_owned()),
        usage: Some(json!({ "inputTokens": 1 })),
        ..AgentSummary::default()
    };
    let ok = |value| ActionResult {
        status: ActionStatus::Ok,
        result: Some(value),
        error: None,
    };
    record
        .actions
        .insert("git".to_owned(), ok(json!({ "sha": "abc", "files": 2 })));
    record.git_commit = json!({ "sha": "abc" }).as_object().cloned();
    record.uploaded_files.push(UploadedFile {
        original_path: "out/a.txt".to_owned(),
        gcs_path: "file:///x".to_owned(),
        size_bytes: 3,
        content_type: "text/plain".to_owned(),
        sha256: "00".to_owned(),
    });
    record.warnings.push("ignored".to_owned());
    assert_eq!(
        Value::Object(report(&record)),
        json!({
            "taskId": "a",
            "status": "failed",
            "exitCode": 1,
            "logsPath": "file:///bucket/sessions/a/",
            "summary": {
                "durationMs": 1000,
                "turns": 3,
                "errors": 1,
                "startedAt": "2026-11-23T10:00:00.000Z",
                "completedAt": "2026-11-23T10:00:01.000Z",
            },
            "error": "too many turns",
            "labels": { "team": "a" },
            "metadata": { "z": 1, "a": 2 },
            "uploadedFiles": [{
                "originalPath": "out/a.txt",
                "gcsPath": "file:///x",
                "sizeBytes": 3,
                "contentType": "text/plain",
                "sha256": "00",
            }],
            "gitCommit": { "sha": "abc" },
            "reason": "max_turns",
            "result": "done",
            "costUsd": 0.25,
            "usage": { "inputTokens": 1 },
            "sessionId": "s",
            "actions": { "git": { "status": "ok", "result": { "sha": "abc", "files": 2 } } },
            "warnings": ["ignored"],
        })
    );
}

#[test]
fn a_cancelled_task_tells_when_its_end_was_asked_for() {
    let mut record = record("a");
    record.status = Status::Cancelled;
    record.cancelled_at = Some("2026-11-23T10:00:01Z".parse().unwrap());
    let report = report(&record);
    assert_eq!(report["summary"]["cancelledAt"], "2026-11-23T10:00:01.000Z");
    assert!(report["summary"].get("errors").is_none());
}

#[test]
fn without_a_commit_there_is_no_git_commit() {
    let mut record = record("a");
    let result = ActionResult {
        status: ActionStatus::Ok,
        result: Some(json!({ "pushed": false, "note": "nothing to commit" })),
        error: None,
    };
    record.actions.insert("git".to_owned(), result);
    let skipped = ActionResult {
        status: ActionStatus::Skipped,
        result: None,
        error: Some("the task is failed, and when is success".to_owned()),
    };
    record.actions.insert("uploadFiles".to_owned(), skipped);
    let report = report(&record);
    assert!(report.get("gitCommit").is_none());
    assert_eq!(report["actions"]["uploadFiles"]["status"], "skipped");
}
