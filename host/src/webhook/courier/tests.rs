#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::Mutex;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::super::Entry;
use super::super::places::{KEPT, hand_in, kept_name};
use super::*;
use crate::bucket::directory::DirectoryBucket;
use crate::bucket::{Durability, When};
use crate::config::PrivateAddresses;
use crate::webhook::State as EntryState;
use crate::webhook::memory::MemoryBucket;
use crate::webhook::outbox::tests::entry;

/// What the receiver got.
struct Delivery {
    headers: HeaderMap,
    body: String,
}

/// Plays the caller's side on loopback: answers by a script, tells of each request.
struct Receiver {
    url: String,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    serving: tokio::task::JoinHandle<()>,
}

type Answers = Arc<Mutex<Box<dyn FnMut() -> Option<Response> + Send>>>;

impl Receiver {
    /// No answer from the script: the request is left hanging.
    async fn start(answer: impl FnMut() -> Option<Response> + Send + 'static) -> Self {
        let (told, deliveries) = mpsc::unbounded_channel();
        let answers: Answers = Arc::new(Mutex::new(Box::new(answer)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=t", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state((told, answers));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            deliveries,
            serving,
        }
    }

    async fn answering(status: u16) -> Self {
        Self::start(move || Some(StatusCode::from_u16(status).unwrap().into_response())).await
    }

    async fn next(&mut self) -> Delivery {
        self.deliveries.recv().await.unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(
    State((told, answers)): State<(mpsc::UnboundedSender<Delivery>, Answers)>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let _ = told.send(Delivery {
        headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let answer = (answers.lock().unwrap())();
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

fn settings(retry: &[Duration]) -> config::Webhook {
    config::Webhook {
        secret: vec![SecretString::from("a-secret-for-the-tests-only")],
        timeout: Duration::from_secs(30),
        retry: retry.to_vec(),
        max_concurrent: 4,
        dead_kept: Duration::from_secs(3600),
        max_dead: 100,
    }
}

fn outbound(private_addresses: PrivateAddresses) -> Outbound {
    Outbound::by(&config::Outbound {
        private_addresses,
        allow_http: true,
    })
    .unwrap()
}

async fn bucket_with(entries: &[(&str, &Entry)]) -> Arc<MemoryBucket> {
    let bucket = Arc::new(MemoryBucket::new());
    for (name, entry) in entries {
        let data = serde_json::to_vec(entry).unwrap();
        bucket
            .put(name, data.into(), When::Absent, Durability::Synced)
            .await
            .unwrap();
    }
    bucket
}

fn courier(settings: config::Webhook, bucket: &Arc<MemoryBucket>) -> Arc<Courier> {
    Courier::with(
        settings,
        Arc::clone(bucket) as Arc<dyn Bucket>,
        outbound(PrivateAddresses::Loopback),
    )
}

async fn at(bucket: &MemoryBucket, name: &str) -> Option<Entry> {
    let object = bucket.get(name).await.unwrap()?;
    Some(serde_json::from_slice(&object.data).unwrap())
}

/// The entry in either place.
async fn stored(bucket: &MemoryBucket, name: &str) -> Option<Entry> {
    match at(bucket, name).await {
        Some(entry) => Some(entry),
        None => at(bucket, &kept_name(name)).await,
    }
}

/// Waits until there is nothing to send.
async fn nothing_is_due(bucket: &MemoryBucket) {
    let mut hints = bucket.watch(DUE);
    while !bucket.list(DUE, None, 1).await.unwrap().is_empty() {
        hints.changed(Duration::from_millis(10)).await;
    }
}

/// Waits for an entry to get into the state.
async fn becomes(bucket: &MemoryBucket, name: &str, state: EntryState) -> Entry {
    let mut hints = bucket.watch(KEPT);
    loop {
        let entry = stored(bucket, name).await.unwrap();
        if entry.state == state {
            return entry;
        }
        hints.changed(Duration::from_secs(60)).await;
    }
}

const AT_ONCE: [Duration; 3] = [Duration::ZERO; 3];

#[tokio::test]
async fn a_report_arrives_signed_and_to_the_byte() {
    let mut receiver = Receiver::answering(204).await;
    let bucket = bucket_with(&[("outbox/due/t1.json", &entry(&receiver.url))]).await;
    let courier = courier(settings(&AT_ONCE), &bucket);
    let delivery = receiver.next().await;
    assert_eq!(delivery.body, entry("").body);
    assert_eq!(delivery.headers["webhook-id"], "msg_t1_completed");
    assert_eq!(delivery.headers["content-type"], "application/json");
    assert!(
        delivery.headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("cloudrun-claude-code/async-task")
    );
    let at: i64 = delivery.headers["x-webhook-timestamp"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let signer = Signer::new(&settings(&[]).secret).unwrap();
    for (name, value) in signer.headers("msg_t1_completed", at, delivery.body.as_bytes()) {
        assert_eq!(delivery.headers[name], value);
    }
    let entry = becomes(&bucket, "outbox/due/t1.json", EntryState::Delivered).await;
    assert_eq!(
        (entry.attempts, entry.leased_until, entry.last_error),
        (1, None, None)
    );
    courier.stop().await;
}

#[tokio::test]
async fn an_entry_that_comes_later_is_seen() {
    let mut receiver = Receiver::answering(200).await;
    let bucket = bucket_with(&[]).await;
    let courier = courier(settings(&AT_ONCE), &bucket);
    let data = serde_json::to_vec(&entry(&receiver.url)).unwrap();
    bucket
        .put(
            "outbox/due/t1.json",
            data.into(),
            When::Absent,
            Durability::Synced,
        )
        .await
        .unwrap();
    courier.nudge();
    receiver.next().await;
    becomes(&bucket, "outbox/due/t1.json", EntryState::Delivered).await;
    courier.stop().await;
}

#[tokio::test]
async fn a_failing_receiver_is_tried_again_with_the_same_id_until_the_ladder_ends() {
    let mut receiver = Receiver::answering(500).await;
    let bucket = bucket_with(&[("outbox/due/t1.json", &entry(&receiver.url))]).await;
    let courier = courier(settings(&AT_ONCE), &bucket);
    for _ in 0..3 {
        assert_eq!(
            receiver.next().await.headers["webhook-id"],
            "msg_t1_completed"
        );
    }
    let entry = becomes(&bucket, "outbox/due/t1.json", EntryState::Dead).await;
    assert_eq!(
        (entry.attempts, entry.last_error.as_deref()),
        (3, Some("status 500"))
    );
    courier.stop().await;
    assert!(receiver.deliveries.try_recv().is_err());
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let mut elsewhere = Receiver::answering(200).await;
    let to = elsewhere.url.clone();
    let mut receiver = Receiver::start(move || {
        Some((StatusCode::TEMPORARY_REDIRECT, [("location", to.clone())]).into_response())
    })
    .await;
    let bucket = bucket_with(&[("outbox/due/t1.json", &entry(&receiver.url))]).await;
    let courier = courier(settings(&[Duration::ZERO]), &bucket);
    receiver.next().await;
    let entry = becomes(&bucket, "outbox/due/t1.json", EntryState::Dead).await;
    assert_eq!(entry.last_error.as_deref(), Some("status 307"));
    assert!(elsewhere.deliveries.try_recv().is_err());
    courier.stop().await;
}

#[tokio::test]
async fn stopping_in_the_middle_of_an_attempt_gives_the_entry_back() {
    let mut receiver = Receiver::start(|| None).await;
    let bucket = bucket_with(&[("outbox/due/t1.json", &entry(&receiver.url))]).await;
    let courier = courier(settings(&AT_ONCE), &bucket);
    receiver.next().await;
    courier.stop().await;
    let entry = stored(&bucket, "outbox/due/t1.json").await.unwrap();
    assert_eq!(
        (entry.state, entry.attempts, entry.leased_until),
        (EntryState::Pending, 0, None)
    );
}

#[tokio::test]
async fn an_entry_that_another_courier_holds_is_left_alone_until_its_lease_ends() {
    let mut receiver = Receiver::answering(200).await;
    let mut held = entry(&receiver.url);
    held.lease(
        Timestamp::now()
            .saturating_add(Duration::from_secs(3600))
            .unwrap(),
    );
    let mut abandoned = entry(&receiver.url);
    abandoned.id = "msg_t2_completed".to_owned();
    abandoned.lease(Timestamp::UNIX_EPOCH);
    let bucket = bucket_with(&[
        ("outbox/due/t1.json", &held),
        ("outbox/due/t2.json", &abandoned),
    ])
    .await;
    let courier = courier(settings(&AT_ONCE), &bucket);
    assert_eq!(
        receiver.next().await.headers["webhook-id"],
        "msg_t2_completed"
    );
    becomes(&bucket, "outbox/due/t2.json", EntryState::Delivered).await;
    courier.stop().await;
    assert_eq!(stored(&bucket, "outbox/due/t1.json").await.unwrap(), held);
    assert!(receiver.deliveries.try_recv().is_err());
}

#[tokio::test]
async fn an_entry_beyond_the_first_page_of_the_outbox_is_delivered() {
    let mut receiver = Receiver::answering(200).await;
    let mut held = entry(&receiver.url);
    let hour = Duration::from_secs(3600);
    held.lease(Timestamp::now().saturating_add(hour).unwrap());
    let names: Vec<String> = (0..PAGE).map(|n| format!("outbox/a{n:06}.json")).collect();
    let mut entries: Vec<_> = names.iter().map(|name| (name.as_str(), &held)).collect();
    let due = entry(&receiver.url);
    entries.push(("outbox/last.json", &due));
    let bucket = bucket_with(&entries).await;
    let courier = courier(settings(&AT_ONCE), &bucket);
    receiver.next().await;
    becomes(&bucket, "outbox/last.json", EntryState::Delivered).await;
    courier.stop().await;
    assert!(receiver.deliveries.try_recv().is_err());
}

#[tokio::test]
async fn two_couriers_deliver_an_entry_once() {
    let mut receiver = Receiver::answering(200).await;
    let bucket = bucket_with(&[("outbox/due/t1.json", &entry(&receiver.url))]).await;
    let couriers = [
        courier(settings(&AT_ONCE), &bucket),
        courier(settings(&AT_ONCE), &bucket),
    ];
    becomes(&bucket, "outbox/due/t1.json", EntryState::Delivered).await;
    for courier in couriers {
        courier.stop().await;
    }
    receiver.next().await;
    assert!(receiver.deliveries.try_recv().is_err());
}

#[tokio::test]
async fn an_old_delivered_entry_is_removed_and_a_damaged_one_stops_nobody() {
    let mut receiver = Receiver::answering(200).await;
    let mut old = entry(&receiver.url);
    old.state = EntryState::Delivered;
    old.delivered_at = Some(Timestamp::UNIX_EPOCH);
    let bucket = bucket_with(&[
        ("outbox/a.json", &old),
        ("outbox/due/t1.json", &entry(&receiver.url)),
    ])
    .await;
    bucket
        .put(
            "outbox/due/b.json",
            "{".into(),
            When::Absent,
            Durability::Synced,
        )
        .await
        .unwrap();
    let courier = courier(settings(&AT_ONCE), &bucket);
    receiver.next().await;
    becomes(&bucket, "outbox/due/t1.json", EntryState::Delivered).await;
    let mut hints = bucket.watch(KEPT);
    while at(&bucket, "outbox/a.json").await.is_some() {
        hints.changed(Duration::from_millis(10)).await;
    }
    courier.stop().await;
}

#[tokio::test]
async fn dead_entries_are_kept_within_their_bounds_and_the_oldest_go_first() {
    let now = Timestamp::now();
    let dead = |minutes: u64| {
        let mut dead = entry("http://127.0.0.1/");
        dead.state = EntryState::Dead;
        let age = Duration::from_secs(minutes * 60);
        dead.dead_at = Some(now.saturating_sub(age).unwrap());
        dead
    };
    let entries = [dead(3), dead(61), dead(1), dead(2)];
    let names = ["a", "b", "c", "d"].map(|name| format!("outbox/{name}.json"));
    let entries: Vec<_> = names.iter().map(String::as_str).zip(&entries).collect();
    let bucket = bucket_with(&entries).await;
    let courier = courier(
        config::Webhook {
            max_dead: 2,
            ..settings(&AT_ONCE)
        },
        &bucket,
    );
    let mut hints = bucket.watch(KEPT);
    loop {
        let left = bucket.list(KEPT, None, 10).await.unwrap();
        let left: Vec<_> = left.into_iter().map(|entry| entry.name).collect();
        if left.len() <= 2 {
            assert_eq!(left, ["outbox/c.json", "outbox/d.json"]);
            break;
        }
        courier.nudge();
        hints.changed(Duration::from_millis(10)).await;
    }
    // What is kept can be sent again, and is as it was.
    assert!(at(&bucket, "outbox/c.json").await.unwrap().replay(now));
    courier.stop().await;
}

#[tokio::test]
async fn a_receiver_at_a_forbidden_address_is_never_dialled() {
    let mut receiver = Receiver::answering(200).await;
    let bucket = bucket_with(&[("outbox/due/t1.json", &entry(&receiver.url))]).await;
    let courier = Courier::with(
        settings(&[Duration::ZERO]),
        bucket.clone(),
        outbound(PrivateAddresses::Deny),
    );
    let entry = becomes(&bucket, "outbox/due/t1.json", EntryState::Dead).await;
    assert!(entry.last_error.unwrap().contains("127.0.0.1"));
    assert!(receiver.deliveries.try_recv().is_err());
    courier.stop().await;
}

#[tokio::test]
async fn without_a_secret_nothing_leaves() {
    let mut receiver = Receiver::answering(200).await;
    let bucket = bucket_with(&[("outbox/due/t1.json", &entry(&receiver.url))]).await;
    let courier = courier(
        config::Webhook {
            secret: Vec::new(),
            ..settings(&AT_ONCE)
        },
        &bucket,
    );
    courier.nudge();
    courier.stop().await;
    assert_eq!(
        stored(&bucket, "outbox/due/t1.json").await.unwrap().state,
        EntryState::Pending
    );
    assert!(receiver.deliveries.try_recv().is_err());
}

#[tokio::test]
async fn what_is_finished_is_no_longer_among_what_is_due_and_is_not_handed_in_again() {
    let mut receiver = Receiver::answering(200).await;
    let bucket = bucket_with(&[("outbox/due/t1.json", &entry(&receiver.url))]).await;
    let courier = courier(settings(&AT_ONCE), &bucket);
    receiver.next().await;
    nothing_is_due(&bucket).await;
    let kept = at(&bucket, "outbox/t1.json").await.unwrap();
    assert_eq!(kept.state, EntryState::Delivered);
    let again = entry(&receiver.url);
    hand_in(bucket.as_ref(), "outbox/t1.json", &again)
        .await
        .unwrap();
    assert!(at(&bucket, "outbox/due/t1.json").await.is_none());
    courier.stop().await;
}

#[tokio::test]
async fn of_an_entry_in_both_places_the_finished_one_counts_unless_it_was_sent_again() {
    let mut receiver = Receiver::answering(200).await;
    let mut delivered = entry(&receiver.url);
    delivered.state = EntryState::Delivered;
    delivered.delivered_at = Some(Timestamp::now());
    let mut left = entry(&receiver.url);
    left.lease(Timestamp::UNIX_EPOCH);
    let mut again = delivered.clone();
    again.id = "msg_t2_completed".to_owned();
    assert!(again.replay(Timestamp::now()));
    let bucket = bucket_with(&[
        ("outbox/t1.json", &delivered),
        ("outbox/due/t1.json", &left),
        ("outbox/t2.json", &delivered),
        ("outbox/due/t2.json", &again),
    ])
    .await;
    let courier = courier(settings(&AT_ONCE), &bucket);
    assert_eq!(
        receiver.next().await.headers["webhook-id"],
        "msg_t2_completed"
    );
    nothing_is_due(&bucket).await;
    courier.stop().await;
    assert_eq!(at(&bucket, "outbox/t1.json").await.unwrap(), delivered);
    assert_eq!(at(&bucket, "outbox/t2.json").await.unwrap().replays, 1);
    assert!(receiver.deliveries.try_recv().is_err());
}

#[tokio::test]
async fn what_an_earlier_version_left_to_be_sent_is_sent() {
    let mut receiver = Receiver::answering(200).await;
    let bucket = bucket_with(&[("outbox/t1.json", &entry(&receiver.url))]).await;
    let courier = courier(settings(&AT_ONCE), &bucket);
    receiver.next().await;
    nothing_is_due(&bucket).await;
    let kept = at(&bucket, "outbox/t1.json").await.unwrap();
    assert_eq!(kept.state, EntryState::Delivered);
    courier.stop().await;
    assert!(receiver.deliveries.try_recv().is_err());
}

#[tokio::test]
async fn what_another_process_puts_where_nothing_was_due_any_more_is_seen_at_once() {
    let mut receiver = Receiver::answering(200).await;
    let folder = tempfile::tempdir().unwrap();
    let open = || DirectoryBucket::open(folder.path().into()).unwrap();
    let courier = Courier::with(
        settings(&AT_ONCE),
        Arc::new(open()),
        outbound(PrivateAddresses::Loopback),
    );
    let job = open();
    for name in ["outbox/t1.json", "outbox/t2.json"] {
        hand_in(&job, name, &entry(&receiver.url)).await.unwrap();
        // The directory goes with the last that is due; a look without a hint comes later than this.
        let seen = tokio::time::timeout(SWEEP / 2, receiver.next()).await;
        assert!(seen.is_ok(), "{name}");
        while !job.list(DUE, None, 1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }
    courier.stop().await;
}
