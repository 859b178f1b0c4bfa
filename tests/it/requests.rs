//! What is refused, how, and that nothing is stored of it.

use gatehouse_tests::{Gateway, repository};
use serde_json::{Value, json};

fn stored(gateway: &Gateway) -> Vec<String> {
    ["tasks/", "sessions/", "index/", "outbox/"]
        .iter()
        .flat_map(|folder| gateway.objects(folder))
        .collect()
}

#[tokio::test]
async fn each_malformed_request_gets_its_status_code_and_field_and_nothing_is_stored() {
    let gateway = Gateway::with().start().await;
    let table = std::fs::read(repository().join("tests/cases/requests/refused.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&table).unwrap();
    assert!(cases.len() >= 80);

    let mut wrong = Vec::new();
    for case in &cases {
        let endpoint = format!("/{}", case["endpoint"].as_str().unwrap());
        let body = case["raw"]
            .as_str()
            .map_or_else(|| case["body"].to_string(), str::to_owned);
        let response = gateway.post_raw(&endpoint, body).await;
        let status = response.status().as_u16();
        let answer: Value = response.json().await.unwrap_or(Value::Null);
        let as_expected = status == case["status"].as_u64().unwrap() as u16
            && answer["code"] == case["code"]
            && answer.get("field").unwrap_or(&Value::Null)
                == case.get("field").unwrap_or(&Value::Null)
            && answer["error"]
                .as_str()
                .is_some_and(|sentence| !sentence.is_empty())
            && answer["requestId"].is_string();
        if !as_expected {
            wrong.push(format!("{}: {status} {answer}", case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(stored(&gateway), Vec::<String>::new());
    assert!(gateway.model_requests().is_empty());
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_while_it_comes_in() {
    let gateway = Gateway::with().start().await;
    let mut request = gateway.request(&"x".repeat(3 << 20));

    let response = gateway.post("/run", &request).await;
    assert_eq!(response.status(), 413);
    assert_eq!(
        response.json::<Value>().await.unwrap()["code"],
        "body-too-large"
    );

    // Without a length, too.
    let parts = (0..64).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 64 * 1024])));
    let endless = reqwest::Body::wrap_stream(futures::stream::iter(parts));
    assert_eq!(gateway.post_raw("/run", endless).await.status(), 413);

    request["prompt"] = json!("small");
    assert_eq!(
        gateway
            .run(&request)
            .await
            .rest()
            .await
            .last()
            .unwrap()
            .name,
        "done"
    );
}

#[tokio::test]
async fn a_task_id_is_given_out_once() {
    let gateway = Gateway::with().start().await;
    let receiver = gatehouse_tests::Receiver::start([]).await;
    let request = gateway.request_with(
        "hello",
        json!({"taskId": "mine", "callbackUrl": receiver.url}),
    );

    let answers =
        futures::future::join_all((0..20).map(|_| gateway.post("/run-async", &request))).await;
    let mut statuses: Vec<u16> = answers
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (202, &[409; 19][..]));
    gateway.ended("mine").await;

    // Nor after its end.
    let again = gateway.post("/run-async", &request).await;
    assert_eq!(again.status(), 409);
    let body: Value = again.json().await.unwrap();
    assert_eq!(
        (&body["code"], &body["field"]),
        (&json!("task-exists"), &json!("taskId"))
    );
    assert_eq!(receiver.delivery(1).await.json()["status"], "completed");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_the_same_shape() {
    let gateway = Gateway::with().start().await;
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/run", 405),
        ("GET", "/tasks/nobody", 404),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let response = reqwest::Client::new()
            .request(method, format!("{}{path}", gateway.url))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{path}");
        let body: Value = response.json().await.unwrap();
        assert!(
            body["code"].is_string() && body["error"].is_string() && body["requestId"].is_string(),
            "{body}"
        );
    }
}
