//! What every bucket must do, as one test that each implementation runs against itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::{Bucket, BucketError, Durability, Generation, When};

const BUFFERED: Durability = Durability::Buffered;

/// Panics where a promise of [`Bucket`] is broken. `one` and `two` are handles on the same empty
/// bucket, as two processes would have.
pub(crate) async fn holds(one: &dyn Bucket, two: &dyn Bucket) {
    what_was_put_is_read_by_everybody(one, two).await;
    of_a_hundred_creators_one_wins(one, two).await;
    concurrent_increments_lose_none(one, two).await;
    a_reader_sees_the_old_content_or_the_new(one, two).await;
    a_stale_generation_changes_nothing(one).await;
    a_generation_is_never_used_twice(one).await;
    a_listing_is_in_byte_order_and_in_pages(one).await;
    an_append_adds_to_the_end(one, two).await;
    an_upload_above_the_limit_leaves_nothing(one).await;
    a_download_streams_what_was_uploaded(one, two).await;
    names_that_are_none_are_refused(one).await;
    a_watch_returns_after_its_time_or_before(one, two).await;
}

async fn put(bucket: &dyn Bucket, name: &str, text: &str, when: When) -> super::Result<Generation> {
    bucket
        .put(
            name,
            Bytes::copy_from_slice(text.as_bytes()),
            when,
            BUFFERED,
        )
        .await
}

async fn text(bucket: &dyn Bucket, name: &str) -> Option<String> {
    let object = bucket.get(name).await.unwrap()?;
    Some(String::from_utf8(object.data.to_vec()).unwrap())
}

async fn names(
    bucket: &dyn Bucket,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Vec<String> {
    bucket
        .list(prefix, after, limit)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

async fn what_was_put_is_read_by_everybody(one: &dyn Bucket, two: &dyn Bucket) {
    assert!(two.get("read/a").await.unwrap().is_none());
    let first = one
        .put(
            "read/a",
            Bytes::from_static(b"1"),
            When::Absent,
            Durability::Synced,
        )
        .await
        .unwrap();
    let seen = two.get("read/a").await.unwrap().unwrap();
    assert_eq!(
        (seen.data.as_ref(), seen.generation),
        (b"1".as_ref(), first)
    );
    let second = put(two, "read/a", "2", When::Matches(first)).await.unwrap();
    assert!(second > first);
    let third = put(one, "read/a", "", When::Always).await.unwrap();
    assert!(third > second);
    assert_eq!(text(two, "read/a").await.unwrap(), "");
    assert!(
        one.get("read").await.unwrap().is_none(),
        "a part of a name is no object"
    );
    assert!(one.get("read/a/b").await.unwrap().is_none());
}

async fn of_a_hundred_creators_one_wins(one: &dyn Bucket, two: &dyn Bucket) {
    let attempts = join_all((0..100_u32).map(|number| async move {
        let bucket = if number.is_multiple_of(2) { one } else { two };
        (
            number,
            put(bucket, "create/a", &number.to_string(), When::Absent).await,
        )
    }))
    .await;
    let winners: Vec<_> = attempts
        .iter()
        .filter(|(_, result)| result.is_ok())
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(
        text(one, "create/a").await.unwrap(),
        winners[0].0.to_string()
    );
    for (_, result) in attempts.iter().filter(|(_, result)| result.is_err()) {
        assert!(
            matches!(result, Err(BucketError::Conflict(name)) if name == "create/a"),
            "{result:?}"
        );
    }
}

async fn concurrent_increments_lose_none(one: &dyn Bucket, two: &dyn Bucket) {
    put(one, "count/a", "0", When::Absent).await.unwrap();
    let increment = |number: usize| async move {
        let bucket = if number.is_multiple_of(2) { one } else { two };
        for _ in 0..10 {
            loop {
                let seen = bucket.get("count/a").await.unwrap().unwrap();
                let next = std::str::from_utf8(&seen.data)
                    .unwrap()
                    .parse::<u32>()
                    .unwrap()
                    + 1;
                match put(
                    bucket,
                    "count/a",
                    &next.to_string(),
                    When::Matches(seen.generation),
                )
                .await
                {
                    Ok(_) => break,
                    Err(BucketError::Conflict(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    };
    join_all((0..10).map(increment)).await;
    assert_eq!(text(two, "count/a").await.unwrap(), "100");
}

async fn a_reader_sees_the_old_content_or_the_new(one: &dyn Bucket, two: &dyn Bucket) {
    const LENGTH: usize = 200_000;
    put(one, "torn/a", &"a".repeat(LENGTH), When::Absent)
        .await
        .unwrap();
    let write = async {
        for number in 0..50_u8 {
            let letter = char::from(b'a' + number % 26).to_string();
            put(one, "torn/a", &letter.repeat(LENGTH), When::Always)
                .await
                .unwrap();
        }
    };
    let read = async {
        let mut last = Generation(0);
        for _ in 0..100 {
            let seen = two.get("torn/a").await.unwrap().unwrap();
            assert_eq!(seen.data.len(), LENGTH);
            assert!(seen.data.iter().all(|byte| *byte == seen.data[0]));
            assert!(seen.generation >= last);
            last = seen.generation;
        }
    };
    futures::join!(write, read);
}

async fn a_stale_generation_changes_nothing(bucket: &dyn Bucket) {
    let stale = put(bucket, "stale/a", "1", When::Absent).await.unwrap();
    put(bucket, "stale/a", "2", When::Matches(stale))
        .await
        .unwrap();
    let replaced = put(bucket, "stale/a", "3", When::Matches(stale)).await;
    assert!(
        matches!(replaced, Err(BucketError::Conflict(_))),
        "{replaced:?}"
    );
    let deleted = bucket.delete("stale/a", When::Matches(stale)).await;
    assert!(
        matches!(deleted, Err(BucketError::Conflict(_))),
        "{deleted:?}"
    );
    assert_eq!(text(bucket, "stale/a").await.unwrap(), "2");

    let present = bucket.get("stale/a").await.unwrap().unwrap().generation;
    for when in [When::Matches(present), When::Matches(present), When::Always] {
        bucket.delete("stale/a", when).await.unwrap();
        assert_eq!(text(bucket, "stale/a").await, None);
    }
    let onto_nothing = put(bucket, "stale/a", "4", When::Matches(present)).await;
    assert!(
        matches!(onto_nothing, Err(BucketError::Conflict(_))),
        "{onto_nothing:?}"
    );
}

async fn a_generation_is_never_used_twice(bucket: &dyn Bucket) {
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..60 {
        let when = if round % 2 == 0 {
            When::Absent
        } else {
            When::Always
        };
        assert!(seen.insert(put(bucket, "again/a", "x", when).await.unwrap()));
        if round % 2 == 1 {
            bucket.delete("again/a", When::Always).await.unwrap();
        }
    }
    assert!(names(bucket, "again/", None, 10).await.is_empty());
}

async fn a_listing_is_in_byte_order_and_in_pages(bucket: &dyn Bucket) {
    let sorted = [
        "l/a-b", "l/a.b", "l/a/b", "l/a0", "l/b/c/d", "l/b/c/e", "l/c", "l/ü",
    ];
    for name in sorted.iter().rev() {
        put(bucket, name, "12345", When::Absent).await.unwrap();
    }
    assert_eq!(names(bucket, "l/", None, 100).await, sorted);
    let mut paged = Vec::new();
    loop {
        let page = names(bucket, "l/", paged.last().map(String::as_str), 3).await;
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, sorted);
    assert_eq!(
        names(bucket, "l/a", None, 100).await,
        ["l/a-b", "l/a.b", "l/a/b", "l/a0"]
    );
    assert_eq!(
        names(bucket, "l/b/c", None, 100).await,
        ["l/b/c/d", "l/b/c/e"]
    );
    assert_eq!(
        names(bucket, "l/b/", Some("l/b/c/d"), 100).await,
        ["l/b/c/e"]
    );
    assert_eq!(
        names(bucket, "l/", Some("l/b"), 2).await,
        ["l/b/c/d", "l/b/c/e"],
        "`after` need not exist"
    );
    assert!(names(bucket, "l/nothing/here/", None, 100).await.is_empty());
    assert!(names(bucket, "l/", None, 0).await.is_empty());
    let entry = bucket.list("l/c", None, 1).await.unwrap().remove(0);
    assert_eq!(
        (entry.size, entry.generation),
        (5, bucket.get("l/c").await.unwrap().unwrap().generation)
    );
    assert!(
        names(bucket, "", None, 1000)
            .await
            .contains(&"l/ü".to_owned())
    );
}

async fn an_append_adds_to_the_end(one: &dyn Bucket, two: &dyn Bucket) {
    for number in 0..20 {
        one.append("append/a", Bytes::from(format!("line {number}\n")))
            .await
            .unwrap();
    }
    let whole = text(two, "append/a").await.unwrap();
    assert_eq!(whole.lines().count(), 20);
    assert!(whole.starts_with("line 0\n") && whole.ends_with("line 19\n"));
    // So large that a storage may go about it in another way.
    for letter in ["a", "b", "c", "d"] {
        let line = Bytes::from(format!("{}\n", letter.repeat(400_000)));
        one.append("append/large", line).await.unwrap();
    }
    let whole = text(two, "append/large").await.unwrap();
    let letters: Vec<_> = whole.lines().map(|line| &line[..1]).collect();
    assert_eq!(
        (letters.concat().as_str(), whole.len()),
        ("abcd", 4 * 400_001)
    );
    assert_eq!(
        names(two, "append", None, 10).await,
        ["append/a", "append/large"]
    );
}

pub(crate) fn file_of(content: &[u8]) -> tokio::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    tokio::fs::File::from_std(file)
}

async fn an_upload_above_the_limit_leaves_nothing(bucket: &dyn Bucket) {
    let content = vec![7; 300_000];
    let refused = bucket.upload("upload/a", file_of(&content), 299_999).await;
    assert!(
        matches!(refused, Err(BucketError::TooLarge { limit: 299_999, .. })),
        "{refused:?}"
    );
    assert!(bucket.get("upload/a").await.unwrap().is_none());
    assert!(names(bucket, "upload/", None, 10).await.is_empty());
    assert_eq!(
        bucket
            .upload("upload/a", file_of(&content), 300_000)
            .await
            .unwrap()
            .size,
        300_000
    );
}

async fn a_download_streams_what_was_uploaded(one: &dyn Bucket, two: &dyn Bucket) {
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let uploaded = one
        .upload("download/dir/a.bin", file_of(&content), u64::MAX)
        .await
        .unwrap();
    assert_eq!(uploaded.sha256, hex::encode(Sha256::digest(&content)));
    let (size, mut reader) = two
        .download("download/dir/a.bin", 0)
        .await
        .unwrap()
        .unwrap();
    let mut back = Vec::new();
    reader.read_to_end(&mut back).await.unwrap();
    assert_eq!(size, uploaded.size);
    assert!(back == content);
    for from in [1, 3_999_999, 4_000_000, u64::MAX] {
        let found = two.download("download/dir/a.bin", from).await;
        // Far behind the end a storage may also refuse.
        let Ok(Some((size, mut reader))) = found else {
            assert_eq!(from, u64::MAX, "{from}");
            continue;
        };
        let mut part = Vec::new();
        reader.read_to_end(&mut part).await.unwrap();
        assert_eq!(size, uploaded.size);
        let from = usize::try_from(from).unwrap().min(content.len());
        assert!(part == content[from..], "{from}");
    }
    let absent = two.download("download/dir/b.bin", 0).await;
    assert!(absent.unwrap().is_none());
    assert!(two.download("download/dir", 0).await.unwrap().is_none());
}

async fn names_that_are_none_are_refused(bucket: &dyn Bucket) {
    for name in ["", "/a", "a//b", "a/../b", "..", "a/", "a\0"] {
        let refused = [
            put(bucket, name, "", When::Always).await.err(),
            bucket.get(name).await.err(),
            bucket.delete(name, When::Always).await.err(),
            bucket.append(name, Bytes::new()).await.err(),
            bucket.upload(name, file_of(b""), 1).await.err(),
            bucket.download(name, 0).await.err(),
        ];
        for error in refused {
            assert!(
                matches!(error, Some(BucketError::InvalidName(_))),
                "{name:?}: {error:?}"
            );
        }
    }
}

/// A hint may be missing, so all that can be asked for is that waiting ends.
async fn a_watch_returns_after_its_time_or_before(one: &dyn Bucket, two: &dyn Bucket) {
    let mut watch = one.watch("watched/not-yet/");
    put(two, "watched/not-yet/a", "x", When::Absent)
        .await
        .unwrap();
    watch.changed(Duration::from_millis(200)).await;
    assert_eq!(text(one, "watched/not-yet/a").await.unwrap(), "x");
}
