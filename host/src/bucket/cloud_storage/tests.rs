#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use fake_google::{FakeGoogle, Fault};
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::bucket::contract;

async fn bucket(google: &FakeGoogle) -> CloudBucket {
    let config = Google {
        endpoint: Some(google.url().parse().unwrap()),
        ..crate::google::tests::settings()
    };
    CloudBucket::open("logs", &config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_every_promise_of_a_bucket() {
    let google = FakeGoogle::start().await.unwrap();
    let (one, two) = (bucket(&google).await, bucket(&google).await);
    contract::holds(&one, &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_them_while_calls_fail_in_every_way() {
    let google = FakeGoogle::start().await.unwrap();
    let (one, two) = (bucket(&google).await, bucket(&google).await);
    google.set_latency(Duration::from_millis(15));
    google.every("storage.", 11, Fault::Status(503));
    google.every("storage.", 13, Fault::Status(429));
    google.every("storage.", 17, Fault::Reset);
    google.every("storage.", 19, Fault::LostReply);
    google.every("storage.read", 23, Fault::BrokenStream(2));
    contract::holds(&one, &two).await;
    assert!(google.injected() > 100, "{}", google.injected());
}

#[tokio::test]
async fn a_call_that_is_never_answered_is_made_again() {
    const NEVER: Fault = Fault::Delay(Duration::from_secs(3600));
    let google = FakeGoogle::start().await.unwrap();
    let bucket = bucket(&google).await;
    let data = Bytes::from_static(b"x");
    google.nth("storage.insert", 1, NEVER);
    google.nth("storage.read", 1, NEVER);
    let put = bucket.put("a", data.clone(), When::Absent, Durability::Synced);
    put.await.unwrap();
    assert_eq!(bucket.get("a").await.unwrap().unwrap().data, data);
    assert_eq!(google.injected(), 2);
    google.every("storage.list", 1, NEVER);
    let failed = bucket.list("a", None, 1).await;
    assert!(matches!(failed, Err(BucketError::Io { .. })), "{failed:?}");
}

#[tokio::test]
async fn an_object_that_arrives_damaged_is_read_again_and_a_stream_of_it_fails() {
    let google = FakeGoogle::start().await.unwrap();
    let bucket = bucket(&google).await;
    let data = Bytes::from_static(b"whole");
    let put = bucket.put("a", data.clone(), When::Absent, Durability::Synced);
    put.await.unwrap();
    google.nth("storage.read", 1, Fault::WrongChecksum);
    assert_eq!(bucket.get("a").await.unwrap().unwrap().data, data);
    google.nth("storage.read", 1, Fault::WrongChecksum);
    let (_, mut reader) = bucket.download("a", 0).await.unwrap().unwrap();
    let mut read = Vec::new();
    let damaged = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut read).await;
    assert!(damaged.is_err(), "{read:?}");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_known_again() {
    let google = FakeGoogle::start().await.unwrap();
    let bucket = bucket(&google).await;
    google.nth("storage.insert", 1, Fault::LostReply);
    let first = bucket
        .put(
            "a",
            Bytes::from_static(b"1"),
            When::Absent,
            Durability::Synced,
        )
        .await
        .unwrap();
    google.nth("storage.insert", 1, Fault::LostReply);
    let second = bucket
        .put(
            "a",
            Bytes::from_static(b"2"),
            When::Matches(first),
            Durability::Synced,
        )
        .await
        .unwrap();
    assert_eq!(bucket.get("a").await.unwrap().unwrap().generation, second);
    assert_eq!(google.count("storage.insert"), 4);
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_not_made_twice() {
    let google = FakeGoogle::start().await.unwrap();
    let bucket = bucket(&google).await;
    let long = "x".repeat(usize::try_from(REWRITTEN).unwrap() + 1);
    bucket
        .append("log", Bytes::from(long.clone()))
        .await
        .unwrap();
    google.nth("storage.compose", 1, Fault::LostReply);
    bucket
        .append("log", Bytes::from_static(b"end"))
        .await
        .unwrap();
    let whole = google.object("logs", "log").unwrap();
    assert_eq!(whole.len(), long.len() + 3);
    assert_eq!(google.objects("logs"), ["log"], "the part is gone");
}

#[tokio::test]
async fn a_storage_that_stays_away_is_an_error_and_not_an_absence() {
    let google = FakeGoogle::start().await.unwrap();
    let bucket = bucket(&google).await;
    google.every("storage.", 1, Fault::Status(403));
    for failed in [
        bucket.get("a").await.err(),
        bucket.delete("a", When::Always).await.err(),
        bucket.list("a", None, 1).await.err(),
        bucket.append("a", Bytes::from_static(b"x")).await.err(),
    ] {
        assert!(matches!(failed, Some(BucketError::Io { .. })), "{failed:?}");
    }
}

/// What goes over the wire, as Google's references have it.
#[tokio::test]
async fn the_requests_are_pinned() {
    let google = FakeGoogle::start().await.unwrap();
    let bucket = bucket(&google).await;
    let data = Bytes::from_static(b"{}");
    let first = bucket
        .put("tasks/a b.json", data, When::Absent, Durability::Synced)
        .await
        .unwrap();
    bucket.get("tasks/a b.json").await.unwrap();
    bucket.list("tasks/", Some("tasks/a"), 2).await.unwrap();
    bucket
        .delete("tasks/a b.json", When::Matches(first))
        .await
        .unwrap();

    let requests = google.requests();
    let lines: Vec<_> = requests
        .iter()
        .map(|request| {
            format!(
                "{} {} {}",
                request.operation, request.method, request.target
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "storage.insert POST /upload/storage/v1/b/logs/o?uploadType=multipart&name=tasks%2Fa+b.json&ifGenerationMatch=0",
            "storage.read GET /storage/v1/b/logs/o/tasks%2Fa%20b.json?alt=media",
            "storage.list POST /google.storage.v2.Storage/ListObjects",
            "storage.delete POST /google.storage.v2.Storage/DeleteObject",
        ]
    );
    let insert = String::from_utf8_lossy(&requests[0].body).into_owned();
    let parts: Vec<_> = insert
        .split("\r\n")
        .filter(|line| line.starts_with('{'))
        .collect();
    let about: serde_json::Value = serde_json::from_str(parts[0]).unwrap();
    assert_eq!(about["contentType"], "application/json");
    assert_eq!(about["metadata"][WRITE].as_str().unwrap().len(), 16);
    assert_eq!(parts[1..], ["{}", r#"{"crc32c":"KXvQqg=="}"#]);
    // parent, page size, prefix, lexicographic start, by their numbers in the interface.
    let list = b"\x0a\x17projects/_/buckets/logs\x10\x03\x32\x06tasks/\x52\x07tasks/a";
    assert_eq!(&requests[2].body[5..], list);
    let mut delete = b"\x0a\x17projects/_/buckets/logs\x12\x0etasks/a b.json\x28".to_vec();
    let mut generation = u64::try_from(first.0).unwrap();
    while generation >= 0x80 {
        delete.push(u8::try_from(generation & 0x7f).unwrap() | 0x80);
        generation >>= 7;
    }
    delete.push(u8::try_from(generation).unwrap());
    assert_eq!(&requests[3].body[5..], delete);
}

#[tokio::test]
async fn an_object_names_the_writes_that_made_it() {
    let google = FakeGoogle::start().await.unwrap();
    let (one, two) = (bucket(&google).await, bucket(&google).await);
    let name = Name::parse("a").unwrap();
    let put = async |bucket: &CloudBucket, when| {
        let data = Bytes::from_static(b"x");
        bucket.put("a", data, when, Durability::Synced).await
    };
    let first = put(&one, When::Absent).await.unwrap();
    let seen = two.get("a").await.unwrap().unwrap();
    let second = put(&two, When::Matches(seen.generation)).await.unwrap();
    let third = put(&two, When::Matches(second)).await.unwrap();
    let object = one.describe(&name).await.unwrap().unwrap();
    let writes: Vec<_> = object.metadata[WRITE].split(' ').collect();
    assert_eq!(object.generation, third.0);
    assert_eq!(writes.len(), 3, "{writes:?}");
    assert!(writes[1].ends_with(&format!(":{}", second.0)), "{writes:?}");
    assert!(writes[2].ends_with(&format!(":{}", first.0)), "{writes:?}");
}

#[tokio::test]
async fn a_large_upload_goes_on_where_its_connection_was_cut() {
    let google = FakeGoogle::start().await.unwrap();
    let bucket = bucket(&google).await;
    let content = vec![7; 9 << 20];
    for fault in [Fault::Reset, Fault::LostReply, Fault::Status(503)] {
        google.nth("storage.start", 1, fault);
        google.nth("storage.upload", 1, fault);
        let file = contract::file_of(&content);
        let uploaded = bucket.upload("files/large", file, u64::MAX).await.unwrap();
        assert_eq!(uploaded.size, content.len() as u64);
        assert!(google.object("logs", "files/large").unwrap() == content);
    }
    assert_eq!(google.injected(), 6);
}

#[tokio::test]
async fn an_upload_that_hangs_is_begun_anew_and_given_up_where_that_hangs_too() {
    const NEVER: Fault = Fault::Delay(Duration::from_secs(3600));
    let google = FakeGoogle::start().await.unwrap();
    let bucket = bucket(&google).await;
    google.nth("storage.insert", 1, NEVER);
    let file = contract::file_of(b"content");
    bucket.upload("files/a", file, u64::MAX).await.unwrap();
    assert_eq!(google.object("logs", "files/a").unwrap(), "content");
    google.every("storage.insert", 1, NEVER);
    let file = contract::file_of(b"more");
    let failed = bucket.upload("files/b", file, u64::MAX).await.unwrap_err();
    assert!(failed.to_string().contains("timed out"), "{failed}");
}

#[tokio::test]
async fn a_download_that_falls_silent_fails_and_can_be_gone_on_with() {
    let google = FakeGoogle::start().await.unwrap();
    let bucket = bucket(&google).await;
    let content = Bytes::from(vec![b'x'; 1000]);
    let put = bucket.put("files/a", content, When::Absent, Durability::Synced);
    put.await.unwrap();
    google.nth("storage.read", 1, Fault::Silence(400));
    let (_, mut reader) = bucket.download("files/a", 0).await.unwrap().unwrap();
    let mut read = Vec::new();
    let failed = reader.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
    assert_eq!(read.len(), 400);
    let (size, mut rest) = bucket.download("files/a", 400).await.unwrap().unwrap();
    rest.read_to_end(&mut read).await.unwrap();
    assert_eq!((size, read.len()), (1000, 1000));
}
