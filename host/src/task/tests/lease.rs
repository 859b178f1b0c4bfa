use std::time::Duration;

use super::*;
use crate::bucket::{Durability, When};
use crate::task::lease::{after, boot_id, encode, start_time_of};

const LENGTH: Duration = Duration::from_secs(20);

async fn store(bucket: &dyn Bucket, id: &TaskId, holder: &Holder) {
    bucket
        .put(
            &names::lease(id),
            encode(holder),
            When::Always,
            Durability::Buffered,
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn of_many_who_want_a_lease_one_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let (bucket, id) = (bucket(&directory), TaskId::fresh_async());
    let attempts = (0..20).map(|_| Lease::take(Arc::clone(&bucket), &id, LENGTH));
    let taken = futures::future::join_all(attempts).await;
    assert_eq!(
        taken
            .into_iter()
            .filter(|lease| lease.as_ref().unwrap().is_some())
            .count(),
        1
    );
    let holder = Lease::holder(bucket.as_ref(), &id).await.unwrap().unwrap();
    assert_eq!(holder.pid, std::process::id());
    assert!(holder.is_alive());
}

#[tokio::test]
async fn a_renewal_fails_once_the_lease_is_somebody_elses_or_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (bucket, id) = (bucket(&directory), TaskId::fresh_async());
    let mut lease = Lease::take(Arc::clone(&bucket), &id, LENGTH)
        .await
        .unwrap()
        .unwrap();
    let before = lease.holder.expires_at;
    assert!(lease.renew().await.unwrap());
    assert!(
        Lease::holder(bucket.as_ref(), &id)
            .await
            .unwrap()
            .unwrap()
            .expires_at
            > before
    );

    store(bucket.as_ref(), &id, &lease.holder.clone()).await;
    assert!(
        lease.renew().await.unwrap(),
        "our own write whose answer was lost is ours"
    );
    store(
        bucket.as_ref(),
        &id,
        &Holder {
            owner: "other".to_owned(),
            ..lease.holder.clone()
        },
    )
    .await;
    assert!(!lease.renew().await.unwrap());
    bucket
        .delete(&names::lease(&id), When::Always)
        .await
        .unwrap();
    assert!(!lease.renew().await.unwrap());
}

#[tokio::test]
async fn the_lease_of_a_dead_holder_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let (bucket, id) = (bucket(&directory), TaskId::fresh_async());
    let mut child = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    let holder = Holder {
        owner: "child".to_owned(),
        pid: child.id(),
        start_time: start_time_of(&child.id().to_string()).unwrap(),
        boot_id: boot_id(),
        expires_at: Timestamp::UNIX_EPOCH,
    };
    store(bucket.as_ref(), &id, &holder).await;
    assert!(
        Lease::take(Arc::clone(&bucket), &id, LENGTH)
            .await
            .unwrap()
            .is_none(),
        "paused is not dead"
    );
    child.kill().unwrap();
    // Until it is waited for it is a zombie, and dead.
    while holder.is_alive() {
        std::thread::yield_now();
    }
    assert!(
        Lease::take(Arc::clone(&bucket), &id, LENGTH)
            .await
            .unwrap()
            .is_some()
    );
    child.wait().unwrap();
}

#[test]
fn a_reused_process_id_is_not_the_holder() {
    let ours = Holder {
        owner: "x".to_owned(),
        pid: std::process::id(),
        start_time: start_time_of("self").unwrap(),
        boot_id: boot_id(),
        expires_at: Timestamp::MAX,
    };
    assert!(ours.is_alive());
    assert!(
        !Holder {
            start_time: ours.start_time + 1,
            ..ours
        }
        .is_alive()
    );
}

#[test]
fn a_holder_elsewhere_lives_by_the_clock() {
    let elsewhere = |expires_at| Holder {
        owner: "x".to_owned(),
        pid: 1,
        start_time: 1,
        boot_id: "another".to_owned(),
        expires_at,
    };
    assert!(elsewhere(after(LENGTH)).is_alive());
    assert!(!elsewhere(Timestamp::UNIX_EPOCH).is_alive());
    assert!(
        Holder {
            boot_id: String::new(),
            ..elsewhere(after(LENGTH))
        }
        .is_alive()
    );
}

#[tokio::test]
async fn an_unreadable_lease_is_nobodys() {
    let directory = tempfile::tempdir().unwrap();
    let (bucket, id) = (bucket(&directory), TaskId::fresh_async());
    bucket
        .put(
            &names::lease(&id),
            Bytes::new(),
            When::Absent,
            Durability::Buffered,
        )
        .await
        .unwrap();
    assert!(Lease::holder(bucket.as_ref(), &id).await.unwrap().is_none());
    assert!(Lease::take(bucket, &id, LENGTH).await.unwrap().is_some());
}
