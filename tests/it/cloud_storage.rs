//! Everything that is kept lies in a bucket of Cloud Storage: what that costs, how soon followers see a
//! line, and what a storage that fails now and then does to a task.

use std::time::{Duration, Instant};

use fake_google::{FakeGoogle, Fault};
use gatehouse_tests::{BUCKET, Gateway, Receiver, eventually};
use serde_json::{Value, json};

async fn google() -> FakeGoogle {
    FakeGoogle::start().await.expect("a free port")
}

fn names(google: &FakeGoogle, prefix: &str) -> Vec<String> {
    let mut names = google.objects(BUCKET);
    names.retain(|name| name.starts_with(prefix));
    names
}

/// Each line of a task's log, from the bucket.
fn lines(google: &FakeGoogle, id: &str) -> Vec<Value> {
    let mut lines = Vec::new();
    for name in names(google, &format!("sessions/{id}/0")) {
        let first: usize = name.rsplit('/').next().unwrap()[..12].parse().unwrap();
        assert_eq!(first, lines.len() + 1, "{name} follows the chunk before it");
        let chunk = google.object(BUCKET, &name).unwrap();
        let text = String::from_utf8(chunk.to_vec()).unwrap();
        lines.extend(
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()),
        );
    }
    lines
}

/// What Cloud Storage counts: A writes, lists and composes, B reads; deletions are free.
#[derive(Debug)]
struct Calls {
    class_a: usize,
    class_b: usize,
}

impl Calls {
    fn so_far(google: &FakeGoogle) -> Self {
        let of = |operations: &[&str]| {
            operations
                .iter()
                .map(|operation| google.count(&format!("storage.{operation}")))
                .sum()
        };
        Self {
            class_a: of(&["insert", "start", "list", "compose"]),
            class_b: of(&["read", "metadata"]),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            class_a: self.class_a - before.class_a,
            class_b: self.class_b - before.class_b,
        }
    }
}

#[tokio::test]
async fn a_task_leaves_its_record_its_log_and_its_files_in_the_bucket_and_nothing_else() {
    let google = google().await;
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with().storage(&google).start().await;
    let request = gateway.request_with(
        "work",
        json!({
            "callbackUrl": receiver.url,
            "preExecutionCommands": ["mkdir a && echo 1 > a/kept.txt"],
            "postExecutionActions": {"uploadFiles": {"globPatterns": ["**/*.txt"]}},
        }),
    );
    let before = Calls::so_far(&google);

    let id = gateway.run_async(&request).await;
    let delivery = receiver.delivery(1).await;
    let record = gateway.ended(&id).await;
    let calls = Calls::so_far(&google).since(&before);

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(delivery.json()["status"], "completed");
    // docs/explanation/cloud-costs.md states about as many for a short task; each call is paid for.
    assert!(calls.class_a <= 40 && calls.class_b <= 40, "{calls:?}");
    let followed = gateway.events(&id, 0).await.rest().await;
    let kept = lines(&google, &id);
    assert!(!kept.is_empty());
    let sent: Vec<Value> = followed
        .iter()
        .filter(|event| event.id.is_some())
        .map(gatehouse_tests::Event::json)
        .collect();
    assert_eq!(sent, kept);
    for file in record["uploadedFiles"].as_array().unwrap() {
        let place = file["gcsPath"].as_str().unwrap();
        let name = place.strip_prefix("gs://logs/").expect(place);
        let content = google.object(BUCKET, name).expect(name);
        assert_eq!(content.len() as u64, file["sizeBytes"].as_u64().unwrap());
    }
    eventually("nothing transient is left", || async {
        names(&google, "tasks/").is_empty().then_some(())
    })
    .await;
    assert!(!gateway.data().join("bucket").exists());
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
    for name in google.objects(BUCKET) {
        let content = google.object(BUCKET, &name).unwrap();
        assert!(gateway.canaries.found_in(&content).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_storage_that_fails_at_every_nth_call_neither_loses_nor_doubles_anything() {
    let google = google().await;
    let receiver = Receiver::start([]).await;
    let gateway = Gateway::with()
        .scenario("many-lines")
        .storage(&google)
        .start()
        .await;
    google.every("storage.", 7, Fault::Status(503));
    google.every("storage.", 11, Fault::LostReply);
    google.every("storage.", 13, Fault::Reset);
    google.every("storage.", 17, Fault::Status(429));
    google.every("storage.read", 5, Fault::BrokenStream(10));
    let mut request = gateway.request_with("work", json!({"maxTurns": 50}));
    request["callbackUrl"] = json!(receiver.url);

    let id = gateway.run_async(&request).await;
    let followed = gateway.events(&id, 0).await.rest().await;
    let record = gateway.ended(&id).await;
    let delivery = receiver.delivery(1).await;
    google.heal();

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(delivery.json()["taskId"], id.as_str());
    let sequences: Vec<u64> = followed.iter().filter_map(|event| event.id).collect();
    let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
    assert_eq!(sequences, expected, "in order, none twice");
    assert_eq!(lines(&google, &id).len(), sequences.len());
    eventually("the payload is gone", || async {
        names(&google, "tasks/").is_empty().then_some(())
    })
    .await;
    assert!(google.injected() > 10, "{}", google.injected());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.deliveries().len(), 1, "one report");
}

/// As far away as another region is.
const LATENCY: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_follower_sees_a_line_soon_and_twenty_cost_no_more_than_one() {
    let google = google().await;
    let gateway = Gateway::with()
        .scenario("slow")
        .storage(&google)
        .start()
        .await;
    google.set_latency(LATENCY);
    let request = gateway.request_with("work", json!({"maxTurns": 50, "detach": true}));
    let id = gateway.run(&request).await.task_id.clone();

    let mut followers = Vec::new();
    for _ in 0..20 {
        followers.push(gateway.events(&id, 0).await);
    }
    let first = format!("/storage/v1/b/{BUCKET}/o/sessions%2F{id}%2F000000000001.jsonl?alt=media");
    let written = eventually("the first chunk is written", || async {
        let is_there = !names(&google, &format!("sessions/{id}/0")).is_empty();
        is_there.then(Instant::now)
    })
    .await;
    let mut seen = Vec::new();
    for follower in &mut followers {
        follower.until(|event| event.id == Some(1)).await;
        seen.push(written.elapsed());
    }
    let reads_of_the_first = google
        .requests()
        .iter()
        .filter(|request| request.target == first && request.operation == "storage.read")
        .count();

    // How soon is measured (docs/benchmarks.md); here it must only not be a matter of the listing's age or
    // of a heartbeat.
    assert!(
        seen.iter().all(|after| *after < Duration::from_secs(5)),
        "{seen:?}"
    );
    // A task takes some seconds to its first line; twenty that ask each for themselves would ask hundreds of times.
    assert!(reads_of_the_first < 60, "{reads_of_the_first}");
    for follower in followers {
        drop(follower);
    }
    gateway.post(&format!("/cancel/{id}"), &json!({})).await;
    gateway.ended(&id).await;
    gateway.is_clean().await;
}

#[tokio::test]
async fn a_gateway_that_is_told_to_stop_ends_in_time_although_the_storage_hangs() {
    let google = google().await;
    let mut gateway = Gateway::with().storage(&google).start().await;
    google.every("storage.", 1, Fault::Delay(Duration::from_secs(3600)));
    let request = reqwest::Client::new().get(format!("{}/ready", gateway.url));
    let waits = tokio::spawn(request.send());
    eventually("calls hang", || async {
        (google.injected() > 1).then_some(())
    })
    .await;

    let since = Instant::now();
    let ended = gateway.stop().await;

    // Cloud Run ends the process after ten seconds.
    assert!(since.elapsed() < Duration::from_secs(10));
    assert!(ended.success(), "{ended}");
    assert!(
        waits.await.unwrap().is_err(),
        "nobody is told that it is ready"
    );
}
