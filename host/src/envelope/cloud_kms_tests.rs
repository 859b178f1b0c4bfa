//! Against Google's API as `fake-google` speaks it: the requests to the byte, and what goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fake_google::{FakeGoogle, Fault, VersionState};
use serde_json::json;

use super::cloud_kms::CloudKms;
use super::*;

const KEY: &str = "projects/p-1/locations/eu/keyRings/ring/cryptoKeys/payloads";
const AAD: &[u8] = b"cce3|task-payload|task-1";
/// The target of a request behind the key's name.
const QUERY: &str = "?%24alt=json%3Benum-encoding%3Dint";

async fn kms() -> (FakeGoogle, CloudKms) {
    let fake = FakeGoogle::start().await.unwrap();
    let google = crate::config::Google {
        project_id: "p-1".to_owned(),
        region: "eu".to_owned(),
        kms_key_ring: "ring".to_owned(),
        kms_key_name: "payloads".to_owned(),
        endpoint: Some(fake.url().parse().unwrap()),
        ..crate::google::tests::settings()
    };
    let kms = CloudKms::new(&google).await.unwrap();
    (fake, kms)
}

fn data_key() -> DataKey {
    Zeroizing::new([7; 32])
}

fn is_refused(result: &Result<DataKey, EnvelopeError>) -> bool {
    matches!(result, Err(EnvelopeError::Refused(_)))
}

/// The words for the log of a service that failed.
fn words<T: fmt::Debug>(result: Result<T, EnvelopeError>) -> String {
    match result {
        Err(EnvelopeError::KeyService(words)) => words,
        other => panic!("the service did not fail: {other:?}"),
    }
}

#[tokio::test]
async fn the_requests_are_those_of_googles_reference_to_the_byte() {
    let (fake, kms) = kms().await;
    let wrapped = kms.wrap(&data_key(), AAD).await.unwrap();
    assert_eq!(wrapped.kid, format!("{KEY}/cryptoKeyVersions/1"));
    assert_eq!(kms.unwrap(&wrapped, AAD).await.unwrap(), data_key());

    let requests = fake.requests();
    let [encrypt, decrypt] = requests.as_slice() else {
        panic!("two requests, not {}", requests.len());
    };
    assert_eq!(
        (encrypt.operation.as_str(), encrypt.method.as_str()),
        ("kms.encrypt", "POST")
    );
    assert_eq!(encrypt.target, format!("/v1/{KEY}:encrypt{QUERY}"));
    // The checksums were computed by hand with another implementation of CRC32C.
    assert_eq!(
        String::from_utf8_lossy(&encrypt.body),
        concat!(
            r#"{"plaintext":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","#,
            r#""additionalAuthenticatedData":"Y2NlM3x0YXNrLXBheWxvYWR8dGFzay0x","#,
            r#""plaintextCrc32c":"3596965425","additionalAuthenticatedDataCrc32c":"3112132613"}"#,
        )
    );
    assert_eq!(decrypt.target, format!("/v1/{KEY}:decrypt{QUERY}"));
    let body: serde_json::Value = serde_json::from_slice(&decrypt.body).unwrap();
    let expected = json!({
        "ciphertext": STANDARD.encode(&wrapped.key),
        "additionalAuthenticatedData": "Y2NlM3x0YXNrLXBheWxvYWR8dGFzay0x",
        "ciphertextCrc32c": crc32c::crc32c(&wrapped.key).to_string(),
        "additionalAuthenticatedDataCrc32c": "3112132613",
    });
    assert_eq!(body, expected);
    let content_type = ("content-type".to_owned(), "application/json".to_owned());
    assert!(encrypt.headers.contains(&content_type));
}

#[tokio::test]
async fn what_passes_is_tried_again_and_nothing_else_is_seen_of_it() {
    let (fake, kms) = kms().await;
    let faults = [
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(500),
        Fault::Reset,
        Fault::LostReply,
        Fault::BrokenStream(20),
        Fault::WrongChecksum,
    ];
    for fault in faults {
        fake.nth("kms.encrypt", 1, fault);
        fake.nth("kms.decrypt", 1, fault);
        let before = fake.count("kms.");
        let wrapped = kms.wrap(&data_key(), AAD).await.unwrap();
        let key = kms.unwrap(&wrapped, AAD).await.unwrap();
        assert_eq!(key, data_key(), "{fault:?}");
        assert_eq!(fake.count("kms.") - before, 4, "{fault:?}");
    }
    fake.nth("kms.encrypt", 1, Fault::Unverified);
    kms.wrap(&data_key(), AAD).await.unwrap();
    assert_eq!(fake.injected(), 15);
}

#[tokio::test]
async fn a_service_that_stays_away_is_given_up_after_five_tries() {
    let (fake, kms) = kms().await;
    let wrapped = kms.wrap(&data_key(), AAD).await.unwrap();
    for fault in [
        Fault::Status(503),
        Fault::Status(429),
        Fault::Reset,
        Fault::WrongChecksum,
        Fault::Unverified,
    ] {
        fake.every("kms.", 1, fault);
        let before = fake.count("kms.");
        words(kms.wrap(&data_key(), AAD).await);
        assert_eq!(fake.count("kms.") - before, 5, "{fault:?}");
        fake.heal();
    }
    fake.every("kms.", 1, Fault::WrongChecksum);
    let said = words(kms.unwrap(&wrapped, AAD).await);
    assert!(said.contains("damaged on its way back"), "{said}");
}

#[tokio::test]
async fn a_service_that_never_answers_is_waited_for_for_a_bounded_time() {
    let (fake, kms) = kms().await;
    fake.every(
        "kms.",
        1,
        Fault::Delay(std::time::Duration::from_secs(3600)),
    );
    let began = std::time::Instant::now();
    words(kms.wrap(&data_key(), AAD).await);
    assert!(began.elapsed() < std::time::Duration::from_secs(25));
    assert!(fake.count("kms.encrypt") <= 4);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_says_what_an_operator_must_do() {
    let (fake, kms) = kms().await;
    let wrapped = kms.wrap(&data_key(), AAD).await.unwrap();
    for (status, encrypting, decrypting) in [
        (
            403,
            "roles/cloudkms.cryptoKeyEncrypter",
            "roles/cloudkms.cryptoKeyDecrypter",
        ),
        (401, "grant", "grant"),
        (404, "google.project_id", "kms_key_ring"),
    ] {
        fake.every("kms.", 1, Fault::Status(status));
        let before = fake.count("kms.");
        let said = words(kms.wrap(&data_key(), AAD).await);
        assert!(said.contains(encrypting) && said.contains(KEY), "{said}");
        let said = words(kms.unwrap(&wrapped, AAD).await);
        assert!(said.contains(decrypting) && said.contains(KEY), "{said}");
        assert_eq!(fake.count("kms.") - before, 2);
        fake.heal();
    }
}

#[tokio::test]
async fn a_new_version_wraps_and_the_old_ones_unwrap_for_as_long_as_they_are_enabled() {
    let (fake, kms) = kms().await;
    let old = kms.wrap(&data_key(), AAD).await.unwrap();
    assert_eq!(fake.rotate_key(KEY), 2);
    let new = kms.wrap(&data_key(), AAD).await.unwrap();
    assert_eq!(new.kid, format!("{KEY}/cryptoKeyVersions/2"));
    assert_eq!(kms.unwrap(&old, AAD).await.unwrap(), data_key());

    for state in [VersionState::Disabled, VersionState::Destroyed] {
        fake.set_key_version(KEY, 1, state);
        let before = fake.count("kms.");
        let said = words(kms.unwrap(&old, AAD).await);
        assert!(said.contains("enable that version"), "{said}");
        assert!(said.contains("cryptoKeyVersions/1"), "{said}");
        assert_eq!(fake.count("kms.") - before, 1, "not tried again");
        assert_eq!(kms.unwrap(&new, AAD).await.unwrap(), data_key());
    }
    fake.set_key_version(KEY, 1, VersionState::Enabled);
    assert_eq!(kms.unwrap(&old, AAD).await.unwrap(), data_key());

    fake.set_key_version(KEY, 2, VersionState::Disabled);
    let said = words(kms.wrap(&data_key(), AAD).await);
    assert!(said.contains("another one the primary"), "{said}");
}

#[tokio::test]
async fn what_was_damaged_on_its_way_there_is_not_taken_for_changed() {
    let (fake, kms) = kms().await;
    for call in [1, 2] {
        fake.nth("kms.encrypt", call, Fault::Status(400));
        fake.nth("kms.decrypt", call, Fault::Status(400));
    }
    let wrapped = kms.wrap(&data_key(), AAD).await.unwrap();
    assert_eq!(kms.unwrap(&wrapped, AAD).await.unwrap(), data_key());
    assert_eq!(fake.count("kms."), 6);
}

#[tokio::test]
async fn a_changed_key_and_one_of_another_task_are_refused() {
    let (fake, kms) = kms().await;
    let wrapped = kms.wrap(&data_key(), AAD).await.unwrap();
    for at in 0..wrapped.key.len() {
        let mut changed = wrapped.clone();
        changed.key[at] ^= 1;
        assert!(is_refused(&kms.unwrap(&changed, AAD).await), "{at}");
    }
    let other = kms.unwrap(&wrapped, b"cce3|task-payload|task-2").await;
    assert!(is_refused(&other));
    assert!(is_refused(&kms.unwrap(&wrapped, b"").await));
    assert_eq!(
        fake.count("kms.decrypt"),
        3 * (wrapped.key.len() + 2),
        "each might have been damaged on its way, and was tried twice more"
    );
}

#[tokio::test]
async fn nothing_is_asked_about_what_another_key_wrapped() {
    let (fake, kms) = kms().await;
    let wrapped = kms.wrap(&data_key(), AAD).await.unwrap();
    for kid in [
        "",
        KEY,
        "local:72cd6e8422c407fb",
        "projects/p-2/locations/eu/keyRings/ring/cryptoKeys/payloads/cryptoKeyVersions/1",
        &format!("{KEY}-2/cryptoKeyVersions/1"),
        &format!("{KEY}/cryptoKeyVersions/"),
        &format!("{KEY}/cryptoKeyVersions/1:encrypt"),
        &format!("{KEY}/cryptoKeyVersions/../1"),
    ] {
        let foreign = Wrapped {
            kid: kid.to_owned(),
            key: wrapped.key.clone(),
        };
        assert!(is_refused(&kms.unwrap(&foreign, AAD).await), "{kid}");
    }
    assert_eq!(fake.count("kms.decrypt"), 0);
}

#[tokio::test]
async fn a_key_of_the_node_service_which_names_none_and_is_bound_to_nothing_is_unwrapped() {
    let (_fake, kms) = kms().await;
    let wrapped = kms.wrap(&data_key(), b"").await.unwrap();
    let unnamed = Wrapped {
        kid: String::new(),
        key: wrapped.key,
    };
    assert_eq!(kms.unwrap(&unnamed, b"").await.unwrap(), data_key());
}

#[tokio::test]
async fn a_whole_message_names_the_version_and_opens_for_its_task_only() {
    let (fake, kms) = kms().await;
    let settings = crate::config::Envelope {
        keys: Keys::CloudKms,
        local_key: std::path::PathBuf::new(),
        accept: vec!["v3".to_owned()],
        max_size: 1 << 20,
    };
    let envelope = Envelope::new(Arc::new(kms), &settings);
    let (purpose, id, other) = (
        Purpose::TaskPayload,
        "task-1".parse().unwrap(),
        "task-2".parse().unwrap(),
    );
    let sealed = envelope.seal(purpose, &id, b"secret").await.unwrap();
    let header = String::from_utf8_lossy(&sealed).into_owned();
    assert!(header.contains(&format!("\"kid\":\"{KEY}/cryptoKeyVersions/1\"")));
    let opened = envelope.open(purpose, &id, &sealed).await.unwrap();
    assert_eq!(opened.as_slice(), b"secret");
    assert!(envelope.open(purpose, &other, &sealed).await.is_err());
    assert_eq!(fake.count("kms.decrypt"), 1, "the other task asked nothing");
}
