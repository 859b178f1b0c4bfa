//! Finding tasks again, and what requests say of themselves.

use gatehouse_tests::{Gateway, Receiver};
use serde_json::{Value, json};

async fn found(gateway: &Gateway, query: &str) -> Vec<String> {
    let page = gateway.get(&format!("/tasks?{query}")).await;
    let tasks = page["tasks"].as_array().unwrap();
    let ids = tasks.iter().map(|task| task["taskId"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn labels_stand_in_record_stream_and_webhook_and_tasks_are_found_by_them() {
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with().start().await;
    let labels = json!({"team": "payments", "repo/branch": "a:b c"});
    let more = json!({"labels": labels, "callbackUrl": receiver.url});
    let labelled = gateway
        .run_async(&gateway.request_with("hello", more))
        .await;
    let done = gateway
        .run(&gateway.request_with("hello", json!({"labels": {"team": "search"}})))
        .await
        .rest()
        .await;
    let done = done.last().unwrap().json();
    gateway.ended(&labelled).await;

    let other = done["taskId"].as_str().unwrap();
    assert_eq!(done["labels"], json!({"team": "search"}));
    assert_eq!(receiver.delivery(1).await.json()["labels"], labels);
    let record = gateway.get(&format!("/tasks/{labelled}")).await;
    assert_eq!(record["labels"], labels);

    assert_eq!(
        found(&gateway, "label=team:payments").await,
        std::slice::from_ref(&labelled)
    );
    assert_eq!(found(&gateway, "label=team:search").await, [other]);
    let both = "label=team:payments&label=repo/branch:a:b%20c&mode=async&status=completed";
    assert_eq!(found(&gateway, both).await, std::slice::from_ref(&labelled));
    assert!(
        found(&gateway, "label=team:payments&label=team:search")
            .await
            .is_empty()
    );
    assert_eq!(found(&gateway, "mode=sync").await, [other]);
    assert!(found(&gateway, "reason=timed_out").await.is_empty());
    assert_eq!(found(&gateway, "caller=anonymous").await.len(), 2);
    let created = record["createdAt"].as_str().unwrap();
    assert!(
        found(&gateway, &format!("until={created}"))
            .await
            .is_empty()
    );
    assert_eq!(found(&gateway, &format!("since={created}")).await.len(), 2);
}

#[tokio::test]
async fn a_query_that_cannot_be_meant_is_refused_and_says_what_was_expected() {
    let gateway = Gateway::with().start().await;
    for (query, expected) in [
        ("label=team", "label must be name:value"),
        ("lable=team:a", "the parameters are status, reason"),
        ("since=yesterday", "since must be a time such as"),
        ("mode=both", "mode must be sync or async"),
        ("limit=500", "limit must be 1 to 200"),
        ("cursor=nothing", "cursor must be"),
    ] {
        let answer = gateway.try_get(&format!("/tasks?{query}")).await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["code"], "invalid-query");
        let sentence = body["error"].as_str().unwrap();
        assert!(sentence.contains(expected), "{query}: {sentence}");
    }
}

#[tokio::test]
async fn use_named_pipe_is_taken_without_effect_and_said_so_once() {
    let gateway = Gateway::with().start().await;
    for value in [true, false] {
        let request = gateway.request_with("hello", json!({"useNamedPipe": value}));
        let done = gateway.run(&request).await.rest().await;
        let done = done.last().unwrap().json();
        assert_eq!(done["status"], "completed");
        let warnings = done["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let warning = warnings[0].as_str().unwrap();
        assert!(
            warning.starts_with("useNamedPipe has no effect"),
            "{warning}"
        );
    }
    let plain = gateway.run(&gateway.request("hello")).await.rest().await;
    assert_eq!(plain.last().unwrap().json().get("warnings"), None);
}
