//! Idempotency keys as they are kept and removed.

use jiff::ToSpan;
use serde_json::json;

use super::*;

fn claim(created_at: Timestamp) -> Claim {
    Claim {
        fingerprint: "f".to_owned(),
        task_id: id("t"),
        created_at,
        answer: json!({}),
    }
}

async fn below(tasks: &Tasks, prefix: &str) -> usize {
    let listed = tasks.bucket().list(prefix, None, 10_000).await.unwrap();
    listed.len()
}

#[tokio::test]
async fn of_many_claims_of_one_key_one_stands() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let now = Timestamp::now();
    let claims = (0..20).map(|n| {
        let claim = Claim {
            fingerprint: n.to_string(),
            ..claim(now)
        };
        let tasks = tasks.clone();
        async move { tasks.stake("k", &claim, None).await.unwrap().map(|_| claim) }
    });
    let stood: Vec<Claim> = futures::future::join_all(claims)
        .await
        .into_iter()
        .flatten()
        .collect();
    let (kept, generation) = tasks.claim("k").await.unwrap().unwrap();
    assert_eq!(stood, [kept]);
    assert!(
        tasks
            .stake("k", &claim(now), Some(generation))
            .await
            .unwrap()
            .is_some()
    );
    // It was replaced: whoever knows the one before neither replaces nor removes it.
    let late = tasks.stake("k", &claim(now), Some(generation)).await;
    assert!(late.unwrap().is_none());
    tasks.unclaim("k", generation).await.unwrap();
    assert!(tasks.claim("k").await.unwrap().is_some());
}

#[tokio::test]
async fn keys_that_are_over_are_removed_by_their_day_and_no_other_is_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
    for (key, age) in [("old", 60.hours()), ("over", 25.hours()), ("new", 1.hour())] {
        tasks.stake(key, &claim(now - age), None).await.unwrap();
    }
    // Used again since; its old day still names it.
    tasks
        .stake("again", &claim(now - 60.hours()), None)
        .await
        .unwrap();
    let (_, generation) = tasks.claim("again").await.unwrap().unwrap();
    tasks
        .stake("again", &claim(now), Some(generation))
        .await
        .unwrap();

    assert_eq!(tasks.remove_old_claims(now).await.unwrap(), 2);
    assert!(tasks.claim("old").await.unwrap().is_none());
    assert!(tasks.claim("again").await.unwrap().is_some());
    // The day of this one is not over yet as a whole.
    assert!(tasks.claim("over").await.unwrap().unwrap().0.is_over(now));
    assert_eq!(tasks.remove_old_claims(now).await.unwrap(), 0);
    assert_eq!(tasks.remove_old_claims(now + 72.hours()).await.unwrap(), 3);
    assert_eq!(below(&tasks, "idempotency/").await, 0);
}

#[tokio::test]
async fn more_old_keys_than_one_listing_holds_are_all_removed() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    for n in 0..1_001 {
        let name = format!("idempotency/days/2026-01-01/{n}");
        let when = crate::bucket::When::Absent;
        let durability = crate::bucket::Durability::Buffered;
        tasks
            .bucket()
            .put(&name, Bytes::new(), when, durability)
            .await
            .unwrap();
    }
    assert_eq!(
        tasks.remove_old_claims(Timestamp::now()).await.unwrap(),
        1_001
    );
    assert_eq!(below(&tasks, "idempotency/").await, 0);
}
