#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::PathBuf;

use aes_gcm::aead::{Aead, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::local::LocalKey;
use super::*;

const LIMIT: u64 = 1 << 20;

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn envelope(key: u8, accept: &[&str]) -> Envelope {
    let settings = crate::config::Envelope {
        keys: crate::config::Keys::Local,
        local_key: PathBuf::new(),
        accept: accept.iter().map(|version| (*version).to_owned()).collect(),
        max_size: LIMIT,
    };
    Envelope::new(Arc::new(LocalKey::of(Zeroizing::new([key; 32]))), &settings)
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    futures::executor::block_on(work)
}

fn seal(plain: &[u8]) -> Vec<u8> {
    wait(envelope(1, &[]).seal(Purpose::TaskPayload, &id("task-1"), plain)).unwrap()
}

fn open(sealed: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    let opened = wait(envelope(1, &["v3"]).open(Purpose::TaskPayload, &id("task-1"), sealed));
    opened.map(|plain| plain.to_vec())
}

fn is_refused(result: &Result<Vec<u8>, EnvelopeError>) -> bool {
    matches!(result, Err(EnvelopeError::Refused(_)))
}

/// As somebody would do who knows that the checksum is no secret.
fn with_right_checksum(mut message: Vec<u8>) -> Vec<u8> {
    if let Some(end) = message.len().checked_sub(4) {
        let checksum = crc32c::crc32c(&message[..end]).to_be_bytes();
        message[end..].copy_from_slice(&checksum);
    }
    message
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_sealed_is_opened(plain in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let sealed = seal(&plain);
        prop_assert_eq!(open(&sealed).unwrap(), plain);
    }

    #[test]
    fn what_was_not_sealed_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(is_refused(&open(&noise)));
        let with_magic = with_right_checksum([b"CCE3\x01\x00\x00\x10".as_slice(), &noise].concat());
        prop_assert!(is_refused(&open(&with_magic)));
    }
}

#[test]
fn every_flipped_bit_is_refused_with_a_wrong_checksum_or_a_right_one() {
    let sealed = seal(b"secret");
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(is_refused(&open(&changed)), "bit {bit}");
        let changed = with_right_checksum(changed);
        assert!(
            changed == sealed || is_refused(&open(&changed)),
            "bit {bit} with the checksum put right"
        );
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let sealed = seal(b"secret");
    for length in 0..sealed.len() {
        assert!(is_refused(&open(&sealed[..length])), "{length}");
        assert!(
            is_refused(&open(&with_right_checksum(sealed[..length].to_vec()))),
            "{length}"
        );
    }
    let longer = [sealed.as_slice(), b"\0"].concat();
    assert!(is_refused(&open(&longer)));
    assert!(is_refused(&open(&with_right_checksum(longer))));
}

#[test]
fn a_message_is_bound_to_its_task() {
    let sealed = seal(b"secret");
    let other = wait(envelope(1, &[]).open(Purpose::TaskPayload, &id("task-2"), &sealed));
    assert!(is_refused(&other.map(|plain| plain.to_vec())));

    // Even where the header is made to say so.
    let at = sealed
        .windows(6)
        .position(|window| window == b"task-1")
        .unwrap();
    let mut forged = sealed.clone();
    forged[at + 5] = b'2';
    let forged = with_right_checksum(forged);
    let other = wait(envelope(1, &[]).open(Purpose::TaskPayload, &id("task-2"), &forged));
    assert!(is_refused(&other.map(|plain| plain.to_vec())));
}

#[test]
fn the_purpose_is_part_of_what_is_checked() {
    let sealed = seal(b"secret");
    let at = sealed
        .windows(12)
        .position(|window| window == b"task-payload")
        .unwrap();
    let mut forged = sealed;
    forged[at] = b'T';
    assert!(is_refused(&open(&with_right_checksum(forged))));
    assert_eq!(
        format::key_aad(Purpose::TaskPayload, &id("x")),
        b"cce3|task-payload|x"
    );
}

#[test]
fn another_key_opens_nothing() {
    let sealed = seal(b"secret");
    let other = wait(envelope(2, &[]).open(Purpose::TaskPayload, &id("task-1"), &sealed));
    assert!(is_refused(&other.map(|plain| plain.to_vec())));
}

#[test]
fn what_is_too_large_is_neither_sealed_nor_opened() {
    let envelope = envelope(1, &[]);
    let (purpose, id) = (Purpose::TaskPayload, id("x"));
    for size in [LIMIT as usize, LIMIT as usize + 1] {
        let sealed = wait(envelope.seal(purpose, &id, &vec![0; size]));
        assert!(
            matches!(sealed, Err(EnvelopeError::TooLarge(LIMIT))),
            "{size}"
        );
    }
    let opened = wait(envelope.open(purpose, &id, &vec![0; LIMIT as usize + 1]));
    assert!(matches!(opened, Err(EnvelopeError::TooLarge(LIMIT))));
}

#[test]
fn two_messages_of_the_same_have_nothing_in_common_but_the_header() {
    assert_ne!(seal(b"secret"), seal(b"secret"));
}

/// If this fails, tasks that were sealed by the version before can't be opened any more.
#[test]
fn the_format_does_not_drift() {
    let key: DataKey = Zeroizing::new([2; 32]);
    // Wrapped by the local key of 32 times 1, with a nonce of 12 times 3.
    let cipher = aes_gcm::Aes256Gcm::new(&[1; 32].into());
    let aad = format::key_aad(Purpose::TaskPayload, &id("task-1"));
    let payload = aes_gcm::aead::Payload {
        msg: key.as_slice(),
        aad: &aad,
    };
    let encrypted = cipher
        .encrypt(&aes_gcm::Nonce::from([3; 12]), payload)
        .unwrap();
    let wrapped = Wrapped {
        kid: "local:72cd6e8422c407fb".to_owned(),
        key: [[3; 12].as_slice(), &encrypted].concat(),
    };
    let fresh = format::Fresh {
        key: &key,
        wrapped: &wrapped,
        salt: [4; 32],
        nonce: [5; 12],
        created: 1_795_392_000,
    };
    let sealed = format::seal(
        Purpose::TaskPayload,
        &id("task-1"),
        b"{\"prompt\":\"hello\"}",
        &fresh,
    )
    .unwrap();
    assert_eq!(STANDARD.encode(&sealed), GOLDEN);
    assert_eq!(
        open(&STANDARD.decode(GOLDEN).unwrap()).unwrap(),
        b"{\"prompt\":\"hello\"}"
    );
}

/// Opened by an independent implementation as well when it was pinned.
const GOLDEN: &str = concat!(
    "Q0NFMwEAAPh7ImFhZCI6eyJwdXJwb3NlIjoidGFzay1wYXlsb2FkIiwidGFza0lkIjoidGFzay0xIn0sImtpZCI6Im",
    "xvY2FsOjcyY2Q2ZTg0MjJjNDA3ZmIiLCJzYWx0IjoiQkFRRUJBUUVCQVFFQkFRRUJBUUVCQVFFQkFRRUJBUUVCQVFF",
    "QkFRRUJBUT0iLCJ3ZGVrIjoiQXdNREF3TURBd01EQXdNRCttTVdtUDJHTld1di91Umx6aHNtcXJveG8wK0Z6Y0N3cm",
    "hLL1JLaEloSEdYL1k5c0cvMlk3L284em0xemxSTWgiLCJjcmVhdGVkIjoxNzk1MzkyMDAwfeZ4HeblYsv+ocwopwQA",
    "hqMXNPXZMThny2x2n1z5k/sEBQUFBQUFBQUFBQUF5nF242CEU6ruXDmn0N/D1WRTOEgdVi/luCVueBtbioi4tStvRK",
    "w=",
);

/// A key service that gives the data key for its bytes backwards, without additional data.
#[derive(Debug)]
struct Backwards;

#[async_trait]
impl KeyService for Backwards {
    async fn wrap(&self, _key: &DataKey, _aad: &[u8]) -> Result<Wrapped, EnvelopeError> {
        Err(EnvelopeError::KeyService("only unwraps".to_owned()))
    }
    async fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<DataKey, EnvelopeError> {
        assert!(aad.is_empty() && wrapped.kid.is_empty());
        let mut key = wrapped.key.clone();
        key.reverse();
        key.try_into()
            .map(Zeroizing::new)
            .map_err(|_| EnvelopeError::Refused("its data key is none"))
    }
    fn kind(&self) -> &'static str {
        "backwards"
    }
}

fn v2(iv: &[u8], tag_length: usize) -> Vec<u8> {
    let key: [u8; 32] = std::array::from_fn(|at| at as u8);
    let nonce = aes_gcm::Nonce::from([7; 12]);
    let mut data = aes_gcm::Aes256Gcm::new(&key.into())
        .encrypt(&nonce, b"{\"prompt\":\"old\"}".as_slice())
        .unwrap();
    let tag = data.split_off(data.len() - 16);
    let wrapped: Vec<u8> = key.into_iter().rev().collect();
    let message = json!({
        "version": "v2-envelope",
        "encryptedDek": STANDARD.encode(wrapped),
        "iv": STANDARD.encode(iv),
        "authTag": STANDARD.encode(&tag[..tag_length]),
        "encryptedData": STANDARD.encode(data),
    });
    message.to_string().into_bytes()
}

fn open_v2(sealed: &[u8], accept: &[&str]) -> Result<Vec<u8>, EnvelopeError> {
    let envelope = Envelope {
        keys: Arc::new(Backwards),
        ..envelope(1, accept)
    };
    wait(envelope.open(Purpose::TaskPayload, &id("x"), sealed)).map(|plain| plain.to_vec())
}

#[test]
fn a_message_of_the_node_service_is_opened_only_where_that_is_accepted() {
    let sealed = v2(&[7; 12], 16);
    assert_eq!(
        open_v2(&sealed, &["v3", "v2"]).unwrap(),
        b"{\"prompt\":\"old\"}"
    );
    assert!(is_refused(&open_v2(&sealed, &["v3"])));
}

#[test]
fn a_message_of_the_node_service_with_a_short_tag_another_iv_or_a_flipped_byte_is_refused() {
    let accept = ["v3", "v2"];
    assert!(is_refused(&open_v2(&v2(&[7; 12], 12), &accept)));
    assert!(is_refused(&open_v2(&v2(&[7; 16], 16), &accept)));
    assert!(is_refused(&open_v2(&v2(&[8; 12], 16), &accept)));
    let text = String::from_utf8(v2(&[7; 12], 16)).unwrap();
    assert!(is_refused(&open_v2(
        text.replace("v2-envelope", "v1-envelope").as_bytes(),
        &accept
    )));
    assert!(is_refused(&open_v2(b"CCE", &accept)));
    assert!(is_refused(&open_v2(b"", &accept)));
}
