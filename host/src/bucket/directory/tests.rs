#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use super::*;
use crate::bucket::contract;

const LONG: Duration = Duration::from_secs(60);

fn bucket(directory: &tempfile::TempDir) -> DirectoryBucket {
    DirectoryBucket::open(directory.path().join("bucket")).unwrap()
}

async fn create(bucket: &DirectoryBucket, name: &str) -> Generation {
    bucket
        .put(
            name,
            Bytes::from_static(b"x"),
            When::Absent,
            Durability::Synced,
        )
        .await
        .unwrap()
}

fn names_below(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_the_contract_of_a_bucket() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (bucket(&directory), bucket(&directory));
    contract::holds(&one, &two).await;
    assert!(
        names_below(&one.disk.root().join(".temp")).is_empty(),
        "nothing half-written is left"
    );
}

#[tokio::test]
async fn only_the_owner_can_read_what_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    create(&bucket, "a/b/c").await;
    bucket
        .append("a/b/d", Bytes::from_static(b"x"))
        .await
        .unwrap();
    let mode = |name: &str| {
        fs::metadata(bucket.disk.root().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        [
            mode(""),
            mode("a"),
            mode("a/b"),
            mode(".temp"),
            mode(".locks")
        ],
        [0o700; 5]
    );
    assert_eq!([mode("a/b/c"), mode("a/b/d")], [0o600; 2]);
}

#[tokio::test]
async fn a_generation_rises_even_where_the_clock_was_set_back() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    create(&bucket, "a").await;
    let future = SystemTime::now() + Duration::from_secs(7200);
    let file = fs::File::options()
        .write(true)
        .open(bucket.disk.root().join("a"))
        .unwrap();
    file.set_modified(future).unwrap();
    let ahead = bucket.get("a").await.unwrap().unwrap().generation;

    let next = bucket
        .put(
            "a",
            Bytes::new(),
            When::Matches(ahead),
            Durability::Buffered,
        )
        .await
        .unwrap();
    assert_eq!(next, Generation(ahead.0 + 1));
    bucket.delete("a", When::Always).await.unwrap();
    assert!(
        create(&bucket, "a").await > next,
        "not even after it was deleted"
    );
}

#[tokio::test]
async fn half_written_files_of_the_dead_are_removed_after_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let temp = bucket(&directory).disk.root().join(".temp");
    let ours = std::process::id();
    for (name, age) in [
        ("999999999-old", 3700),
        ("999999999-new", 60),
        (&format!("{ours}-old"), 3700),
    ] {
        let file = fs::File::create(temp.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age))
            .unwrap();
    }
    drop(bucket(&directory));
    let mut left = names_below(&temp);
    left.sort();
    let mut expected = vec!["999999999-new".to_owned(), format!("{ours}-old")];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn a_directory_that_was_emptied_goes_and_those_at_the_top_stay() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    create(&bucket, "tasks/x/deep/er").await;
    create(&bucket, "tasks/y/a").await;
    bucket
        .delete("tasks/x/deep/er", When::Always)
        .await
        .unwrap();
    assert_eq!(names_below(&bucket.disk.root().join("tasks")), ["y"]);
    bucket.delete("tasks/y/a", When::Always).await.unwrap();
    assert!(bucket.disk.root().join("tasks").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_do_not_trip_over_directories_that_vanish() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (bucket(&directory), bucket(&directory));
    let churn = |bucket: DirectoryBucket, name: &'static str| async move {
        for _ in 0..500 {
            bucket
                .put(name, Bytes::new(), When::Always, Durability::Buffered)
                .await
                .unwrap();
            bucket.delete(name, When::Always).await.unwrap();
        }
    };
    let tasks = [
        tokio::spawn(churn(one, "tasks/x/y/a")),
        tokio::spawn(churn(two, "tasks/x/y/b")),
    ];
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_that_somebody_is_about_to_use_stays_until_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (bucket(&directory), bucket(&directory));
    create(&theirs, "tasks/x/y/b").await;
    let path = |name: &str| ours.disk.root().join(name);
    let stays = ours.disk.make_directory_of(&path("tasks/x/y/a")).unwrap();
    let deleting =
        tokio::spawn(async move { theirs.delete("tasks/x/y/b", When::Always).await.unwrap() });
    let started = std::time::Instant::now();
    while path("tasks/x/y/b").exists() && started.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        path("tasks/x/y").is_dir(),
        "removed under the writer's hands"
    );
    drop(stays);
    deleting.await.unwrap();
    assert!(!path("tasks/x").exists());
}

#[tokio::test]
async fn a_watcher_is_told_of_what_another_handle_does() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (bucket(&directory), bucket(&directory));
    let mut watch = one.watch("sessions/x/");
    let generation = create(&two, "sessions/x/a").await;
    tokio::time::timeout(LONG, watch.changed(LONG * 10))
        .await
        .expect("told of a creation");
    two.put(
        "sessions/x/a",
        Bytes::new(),
        When::Matches(generation),
        Durability::Buffered,
    )
    .await
    .unwrap();
    tokio::time::timeout(LONG, watch.changed(LONG * 10))
        .await
        .expect("told of a replacement");
    two.append("sessions/x/b", Bytes::from_static(b"x"))
        .await
        .unwrap();
    tokio::time::timeout(LONG, watch.changed(LONG * 10))
        .await
        .expect("told of an append");
}

#[tokio::test]
async fn a_watch_ends_with_its_last_watcher() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    let first = bucket.watch("sessions/x/");
    let second = bucket.watch("sessions/x/");
    assert_eq!(bucket.hints.watched(), 1);
    drop(first);
    let _other = bucket.watch("sessions/y/");
    assert_eq!(bucket.hints.watched(), 2);
    drop(second);
    let _another = bucket.watch("sessions/z/");
    assert_eq!(bucket.hints.watched(), 2);
}

#[tokio::test]
async fn a_write_that_the_disk_refuses_is_an_io_error() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(&directory);
    create(&bucket, "a").await;
    let below_a_file = bucket
        .put("a/b", Bytes::new(), When::Absent, Durability::Synced)
        .await;
    assert!(matches!(below_a_file, Err(BucketError::Io { name, .. }) if name == "a/b"));
    let onto_a_directory = {
        create(&bucket, "d/e").await;
        bucket
            .put("d", Bytes::new(), When::Always, Durability::Buffered)
            .await
    };
    assert!(matches!(onto_a_directory, Err(BucketError::Io { .. })));
    assert!(names_below(&bucket.disk.root().join(".temp")).is_empty());
}
