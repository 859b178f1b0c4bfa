//! The whole of it as it runs on Google Cloud: two gateways, a bucket of Cloud Storage, keys in KMS, jobs that
//! are executions. Whatever fails on the way, each task has one end, one report, and one unbroken log.

use std::collections::BTreeSet;

use fake_google::Fault;
use gatehouse_tests::{BUCKET, CloudRun, Gateway, Receiver, eventually};
use serde_json::{Value, json};

async fn gateway(service: &CloudRun, scenario: &str) -> Gateway {
    let gateway = Gateway::with()
        .scenario(scenario)
        .cloud(service)
        .env("GATEHOUSE__JOB__HEARTBEAT", "1s")
        .env("GATEHOUSE__JOB__LEASE", "4s")
        .start()
        .await;
    service.deploy(&gateway, |_| ());
    gateway
}

fn names(service: &CloudRun, prefix: &str) -> Vec<String> {
    let mut names = service.google.objects(BUCKET);
    names.retain(|name| name.starts_with(prefix));
    names
}

/// How many lines a task's log has; each chunk must begin where the one before it ends.
fn unbroken(service: &CloudRun, id: &str) -> u64 {
    let mut lines = 0;
    for name in names(service, &format!("sessions/{id}/0")) {
        let first: u64 = name.rsplit('/').next().unwrap()[..12].parse().unwrap();
        assert_eq!(first, lines + 1, "{name}");
        let chunk = service.google.object(BUCKET, &name).unwrap();
        lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    lines
}

async fn accepted(gateway: &Gateway, receiver: &Receiver) -> String {
    let more = json!({"callbackUrl": receiver.url, "maxTurns": 50});
    let request = gateway.request_with("work", more);
    // A caller tries again where the storage fails for too long.
    loop {
        let response = gateway.post("/run-async", &request).await;
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        match status {
            202 => return body["taskId"].as_str().unwrap().to_owned(),
            503 => {}
            other => panic!("{other}: {body}"),
        }
    }
}

/// One end, one report, one log, and nothing that is for the time of the task only.
async fn one_of_each(service: &CloudRun, receiver: &Receiver, id: &str) -> Value {
    let report = receiver.delivery(1).await.json();
    assert_eq!(report["taskId"], id);
    eventually("nothing transient is left", || async {
        names(service, &format!("tasks/{id}/"))
            .is_empty()
            .then_some(())
    })
    .await;
    let record = service
        .google
        .object(BUCKET, &format!("sessions/{id}/metadata.json"));
    let record: Value = serde_json::from_slice(&record.unwrap()).unwrap();
    assert_eq!(record["status"], report["status"]);
    assert_eq!(record["lastSequence"], unbroken(service, id), "{record:#}");
    let ids: BTreeSet<String> = receiver
        .deliveries()
        .iter()
        .map(|delivery| delivery.header("webhook-id").to_owned())
        .collect();
    assert_eq!(
        ids.len(),
        1,
        "the same report, however often its answer was lost"
    );
    record
}

#[tokio::test]
async fn a_task_of_one_gateway_is_followed_listed_and_cancelled_at_the_other() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let mut gateway = gateway(&service, "slow").await;
    let (_twin, other) = gateway.twin().await;

    let id = accepted(&gateway, &receiver).await;
    gateway.url = other;
    let mut followed = gateway.events(&id, 0).await;
    followed.until(|event| event.id == Some(2)).await;
    let listed = gateway.get("/tasks").await;
    let cancelled = gateway.post(&format!("/cancel/{id}"), &json!({})).await;

    assert_eq!(listed["tasks"][0]["taskId"], id.as_str());
    assert_eq!(cancelled.status(), 200);
    let rest = followed.rest().await;
    assert!(
        rest.iter().any(|event| event.name == "cancelled"),
        "{rest:#?}"
    );
    let record = one_of_each(&service, &receiver, &id).await;
    assert_eq!(record["status"], "cancelled", "{record:#}");
    gateway.has_leaked_nothing();
}

/// Two gateways that end a task of `/run` soon after nobody follows it any more; the address of the second.
async fn impatient(service: &CloudRun) -> (Gateway, tokio::process::Child, String) {
    let gateway = Gateway::with()
        .scenario("hang")
        .cloud(service)
        .env("GATEHOUSE__SERVER__DISCONNECT_GRACE", "2s")
        .start()
        .await;
    service.deploy(&gateway, |_| ());
    let (twin, other) = gateway.twin().await;
    (gateway, twin, other)
}

/// The mark that tells one gateway that a task is followed at another.
fn mark(service: &CloudRun, id: &str) -> Option<Value> {
    let mark = service
        .google
        .object(BUCKET, &format!("tasks/{id}/followed.json"))?;
    serde_json::from_slice(&mark).ok()
}

async fn handed_over(service: &CloudRun, id: &str) {
    eventually("the first gateway leaves the task to the other", || async {
        (mark(service, id)?["takerLeft"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_comes_back_to_another_gateway_keeps_its_task_until_it_leaves_that_too() {
    let service = CloudRun::start().await;
    let (mut gateway, _twin, other) = impatient(&service).await;
    let mut first = gateway.run(&gateway.request("hang")).await;
    first.until(|event| event.id.is_some()).await;
    let id = first.task_id.clone();
    assert_eq!(
        mark(&service, &id),
        None,
        "nothing is written for who stays"
    );

    drop(first);
    gateway.url = other;
    let mut second = gateway.events(&id, 0).await;
    second.until(|event| event.id.is_some()).await;
    handed_over(&service, &id).await;

    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(record["status"], "running", "{record:#}");
    drop(second);
    let record = gateway.ended(&id).await;
    assert_eq!(record["cancel"]["by"], "disconnect", "{record:#}");
}

#[tokio::test]
async fn whoever_looks_on_at_another_gateway_for_a_while_ends_nobodys_task() {
    let service = CloudRun::start().await;
    let (mut gateway, _twin, other) = impatient(&service).await;
    let mut first = gateway.run(&gateway.request("hang")).await;
    first.until(|event| event.id.is_some()).await;
    let id = first.task_id.clone();
    let here = std::mem::replace(&mut gateway.url, other);

    let mut onlooker = gateway.events(&id, 0).await;
    onlooker.until(|event| event.id.is_some()).await;
    let reads = || {
        service
            .google
            .requests()
            .iter()
            .filter(|it| it.operation == "storage.read" && it.target.contains("followed.json"))
            .count()
    };
    eventually("it is noted", || async { mark(&service, &id) }).await;
    drop(onlooker);
    let before = reads();
    eventually("the other gateway asks whose the task is", || async {
        (reads() > before).then_some(())
    })
    .await;

    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(
        (&record["status"], &record["cancel"]),
        (&json!("running"), &Value::Null)
    );
    gateway.url = here;
    drop(first);
    let record = gateway.ended(&id).await;
    assert_eq!(record["cancel"]["by"], "disconnect", "{record:#}");
}

#[tokio::test]
async fn a_gateway_that_stops_leaves_its_callers_tasks_to_the_one_they_come_back_to() {
    let service = CloudRun::start().await;
    let (mut gateway, _twin, other) = impatient(&service).await;
    let mut first = gateway.run(&gateway.request("hang")).await;
    first.until(|event| event.id.is_some()).await;
    let id = first.task_id.clone();

    gateway.stop().await;
    assert_eq!(mark(&service, &id).unwrap()["takerLeft"], true);
    gateway.url = other;
    let mut second = gateway.events(&id, 0).await;
    second.until(|event| event.id.is_some()).await;
    drop(second);

    let record = gateway.ended(&id).await;
    assert_eq!(record["cancel"]["by"], "disconnect", "{record:#}");
}

#[tokio::test]
async fn with_a_fault_at_every_nth_call_each_task_ends_once_and_is_reported() {
    let service = CloudRun::start().await;
    let mut gateway = gateway(&service, "many-lines").await;
    let (_twin, other) = gateway.twin().await;
    let google = &service.google;
    google.every("storage.", 11, Fault::Status(503));
    google.every("storage.", 13, Fault::LostReply);
    google.every("storage.", 17, Fault::Reset);
    google.every("storage.", 29, Fault::Status(429));
    google.every("storage.read", 7, Fault::BrokenStream(20));
    google.every("kms.", 3, Fault::Status(503));
    google.every("kms.", 4, Fault::LostReply);
    google.every("kms.", 7, Fault::WrongChecksum);
    google.every("run.", 3, Fault::Status(503));
    google.every("run.", 4, Fault::LostReply);
    google.every("run.", 5, Fault::Reset);

    let urls = [gateway.url.clone(), other];
    let mut tasks = Vec::new();
    for number in 0..4 {
        let receiver = Receiver::start([]).await;
        gateway.url.clone_from(&urls[number % 2]);
        tasks.push((accepted(&gateway, &receiver).await, receiver));
    }

    for (id, receiver) in &tasks {
        let record = one_of_each(&service, receiver, id).await;
        assert_eq!(record["status"], "completed", "{record:#}");
    }
    service.google.heal();
    service.is_idle().await;
    assert_eq!(service.executions().len(), tasks.len(), "no task ran twice");
    assert!(
        service.google.injected() > 50,
        "{}",
        service.google.injected()
    );
    gateway.has_leaked_nothing();
    for name in service.google.objects(BUCKET) {
        let content = service.google.object(BUCKET, &name).unwrap();
        assert!(gateway.canaries.found_in(&content).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn what_a_killed_gateway_had_accepted_the_other_brings_to_its_end() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let mut gateway = gateway(&service, "slow").await;
    let (_twin, other) = gateway.twin().await;
    let id = accepted(&gateway, &receiver).await;

    gateway.kill().await;
    gateway.url = other;

    let record = one_of_each(&service, &receiver, &id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(service.executions().len(), 1);
}
