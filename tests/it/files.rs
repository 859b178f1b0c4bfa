//! Files that a task keeps: what may be asked for, what is never kept, and how it is fetched.

use gatehouse_tests::Gateway;
use serde_json::{Value, json};

/// What an agent could leave to harm whoever looks, beside two files of its own.
const HOSTILE: &str = "echo kept > kept.txt; mkdir -p a/b; echo '{}' > a/b/kept.json
ln -s /etc/passwd link.txt; ln -s /proc/1/environ environ.txt; ln -s /etc etc; ln -s / root
ln -s /dev/zero zero.txt; mkfifo pipe.txt; ln -s a loop; ln -s . self
truncate -s 100M huge.txt
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket.txt\")'
ln /etc/hostname hard.txt 2>/dev/null || true";

#[tokio::test]
async fn regular_files_of_the_workspace_are_kept_and_nothing_else() {
    let gateway = Gateway::with()
        .env("GATEHOUSE__JOB__MAX_ARTIFACT_SIZE", "1MiB")
        .start()
        .await;
    let request = gateway.request_with(
        "hello",
        json!({
            "preExecutionCommands": [HOSTILE],
            "postExecutionActions": {"uploadFiles": {
                "globPatterns": ["**/*.txt", "**/*.json", "etc/*", "root/etc/*", "loop/**", "self/*"],
                "gcsPrefix": "sessions/other/",
            }},
        }),
    );
    let done = gateway.run(&request).await.rest().await;
    let done = done.last().unwrap().json();
    assert_eq!(done["status"], "completed", "{done:#}");

    let id = done["taskId"].as_str().unwrap();
    let kept: Vec<&str> = done["uploadedFiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["originalPath"].as_str().unwrap())
        .collect();
    assert_eq!(kept, ["a/b/kept.json", "kept.txt"], "{done:#}");
    let skipped = &done["actions"]["uploadFiles"]["result"]["skipped"];
    assert_eq!(skipped[0]["path"], "huge.txt", "{done:#}");
    assert_eq!(skipped.as_array().unwrap().len(), 1, "{done:#}");

    // Below the task's own place, and nowhere else.
    let listed = gateway.get(&format!("/tasks/{id}/artifacts")).await;
    let files: Vec<&Value> = listed["artifacts"].as_array().unwrap().iter().collect();
    assert_eq!(files.len(), 2);
    let file = files[0];
    assert_eq!(file["path"], "sessions/other/a/b/kept.json");
    assert_eq!(file["contentType"], "application/json");
    assert_eq!(file["sizeBytes"], 3);
    assert_eq!(gateway.objects("sessions/other/"), Vec::<String>::new());

    let path = format!("/tasks/{id}/artifacts/sessions/other/a/b/kept.json");
    let download = gateway.try_get(&path).await.unwrap();
    assert_eq!(download.headers()["content-type"], "application/json");
    let tag = format!("\"{}\"", file["sha256"].as_str().unwrap());
    assert_eq!(download.headers()["etag"], tag.as_str());
    assert_eq!(download.text().await.unwrap(), "{}\n");
    gateway.is_clean().await;
}

#[tokio::test]
async fn patterns_and_prefixes_that_lead_elsewhere_are_refused_with_the_field() {
    let gateway = Gateway::with().start().await;
    let upload =
        |patterns: Value, prefix: Value| json!({"globPatterns": patterns, "gcsPrefix": prefix});
    for options in [
        upload(json!(["../**"]), Value::Null),
        upload(json!(["a/../../b"]), Value::Null),
        upload(json!(["/etc/*"]), Value::Null),
        upload(json!(["/proc/self/environ"]), Value::Null),
        upload(json!(["x".repeat(1025)]), Value::Null),
        upload(json!(["**"]), json!("../")),
        upload(json!(["**"]), json!("a/../../x")),
        upload(json!(["**"]), json!("/")),
        upload(json!(["**"]), json!("/tasks/x")),
        upload(json!(["**"]), json!("x".repeat(1025))),
        upload(json!(["**"]), json!("a\nb")),
        upload(json!(["**"]), json!("a\u{7f}")),
    ] {
        let more = json!({"postExecutionActions": {"uploadFiles": options}});
        let answer = gateway
            .post("/run", &gateway.request_with("hello", more))
            .await;
        assert_eq!(answer.status(), 400, "{options}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(
            body["field"], "postExecutionActions.uploadFiles",
            "{options}: {body}"
        );
    }
    assert!(gateway.model_requests().is_empty());
}
