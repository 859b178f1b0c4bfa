//! The quick start's task: what a newcomer sees first.

use gatehouse_tests::{Gateway, repository};
use serde_json::{Value, json};

fn example(gateway: &Gateway) -> Value {
    let file = repository().join("examples/tasks/01-haiku.json");
    let mut request: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    request["anthropicApiKey"] = json!(gateway.canaries.api_key);
    request
}

#[tokio::test]
async fn the_first_example_writes_a_file_is_denied_once_works_around_it_and_keeps_an_artefact() {
    let gateway = Gateway::with().scenario("quickstart").start().await;

    let mut stream = gateway.run(&example(&gateway)).await;
    let id = stream.task_id.clone();
    let report = stream.until(|event| event.name == "done").await.json();

    assert_eq!(report["status"], "completed", "{report:#}");
    assert_eq!(report["exitCode"], 0);
    assert!(
        report["summary"]["turns"].as_u64().unwrap() >= 3,
        "{report:#}"
    );
    let kept = &report["uploadedFiles"][0];
    let content = gateway.object_at(kept["gcsPath"].as_str().unwrap());
    assert_eq!(
        content.unwrap().len() as u64,
        kept["sizeBytes"].as_u64().unwrap()
    );

    let denied: Vec<Value> = gateway
        .decisions(&id)
        .await
        .into_iter()
        .filter(|decision| decision["verdict"] == "deny")
        .collect();
    assert_eq!(denied.len(), 1, "{denied:#?}");
    assert_eq!(denied[0]["plugin"], "tool-rules");
    assert!(
        denied[0]["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty())
    );

    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}
