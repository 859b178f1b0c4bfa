//! Files that actions kept, as callers get them.

use super::*;
use crate::bucket::{Durability, When};
use crate::task::UploadedFile;

const SHA256: &str = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";

/// A task that kept `hi` under two names, one of which its record knows.
async fn gateway_with_files() -> Gateway {
    let gateway = Gateway::start(HANGS, &[]).await;
    gateway.post("/run-async", &async_task("t1")).await;
    let id: TaskId = "t1".parse().unwrap();
    let bucket = gateway.app.tasks.bucket();
    for path in ["out/a b\"é.html", "unknown.html"] {
        let name = format!("{}{path}", names::artifacts(&id));
        bucket
            .put(&name, "hi".into(), When::Always, Durability::Synced)
            .await
            .unwrap();
    }
    let file = UploadedFile {
        original_path: "a b\"é.html".to_owned(),
        gcs_path: bucket.uri(&format!("{}out/a b\"é.html", names::artifacts(&id))),
        size_bytes: 2,
        content_type: "text/html".to_owned(),
        sha256: SHA256.to_owned(),
    };
    let kept = |record: &mut crate::task::Record| {
        record.uploaded_files = vec![file.clone()];
        true
    };
    gateway.app.tasks.update(&id, kept).await.unwrap();
    gateway
}

const PATH: &str = "/tasks/t1/artifacts/out/a%20b%22%C3%A9.html";

#[tokio::test]
async fn kept_files_are_listed_with_what_is_known_of_them() {
    let gateway = gateway_with_files().await;
    let listed = gateway.get("/tasks/t1/artifacts").await;
    let listed: Value = listed.json().await.unwrap();
    let known = json!({
        "path": "out/a b\"é.html", "sizeBytes": 2, "contentType": "text/html", "sha256": SHA256,
    });
    let unknown = json!({ "path": "unknown.html", "sizeBytes": 2 });
    assert_eq!(listed, json!({ "artifacts": [known, unknown] }));
    gateway.stop().await;
}

#[tokio::test]
async fn a_kept_file_is_a_download_that_no_browser_takes_for_a_page() {
    let gateway = gateway_with_files().await;
    for (path, kind, name) in [
        (PATH, "text/html", "a%20b%22%C3%A9.html"),
        (
            "/tasks/t1/artifacts/unknown.html",
            "application/octet-stream",
            "unknown.html",
        ),
    ] {
        let file = gateway.get(path).await;
        assert_eq!(file.headers()["content-type"], kind);
        assert_eq!(
            file.headers()["content-disposition"],
            format!("attachment; filename*=UTF-8''{name}")
        );
        assert_eq!(file.headers()["x-content-type-options"], "nosniff");
        assert_eq!(
            file.headers()["content-security-policy"],
            "default-src 'none'; sandbox"
        );
        assert_eq!(file.headers()["content-length"], "2");
        assert_eq!(file.text().await.unwrap(), "hi");
    }
    for path in ["none", "out", "out/", "..%2f..%2ft1", "%00"] {
        let path = format!("/tasks/t1/artifacts/{path}");
        problem(gateway.get(&path).await, 404, "artifact-not-found").await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_fetched_before_is_not_sent_again_and_what_broke_off_goes_on() {
    let gateway = gateway_with_files().await;
    let with = async |path: &str, name: &str, value: &str| {
        let request = gateway.request(Method::GET, path).header(name, value);
        request.send().await.unwrap()
    };
    let tag = gateway.get(PATH).await.headers()["etag"].clone();
    let tag = tag.to_str().unwrap();
    assert_eq!(tag, format!("\"{SHA256}\""));
    let same = with(PATH, "if-none-match", &format!("\"x\", W/{tag}")).await;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(same.text().await.unwrap(), "");
    let other = with(PATH, "if-none-match", "\"x\"").await;
    assert_eq!(other.status(), StatusCode::OK);

    let part = with(PATH, "range", "bytes=1-").await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 1-1/2");
    assert_eq!(part.headers()["content-length"], "1");
    assert_eq!(part.text().await.unwrap(), "i");
    let none = with(PATH, "range", "bytes=2-").await;
    assert_eq!(none.headers()["content-range"], "bytes */2");
    problem(none, 416, "invalid-range").await;
    gateway.stop().await;
}
