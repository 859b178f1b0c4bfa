//! The `Idempotency-Key` of a request: its form, its scope, and one request at a time under each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;

use super::problem::{INVALID_IDEMPOTENCY_KEY, Problem};
use crate::task::Mode;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Characters of a key.
const LONGEST: usize = 255;

/// Requests under one key at once: the one whose turn it is, and those that wait.
const MOST: usize = 128;
/// A request waits for its turn this long.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A request's key as it is kept, and what tells the request from every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Of the caller and its key: another caller's same key is another key.
    pub(super) hash: String,
    /// Of the endpoint and the body, to the byte.
    pub(super) fingerprint: String,
}

impl Key {
    /// The request's key, if it bears one. `scope` is what tells its caller from every other.
    pub(super) fn of(
        headers: &HeaderMap,
        scope: &str,
        mode: Mode,
        body: &[u8],
    ) -> Result<Option<Self>, Problem> {
        let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(key) = given.next() else {
            return Ok(None);
        };
        let printable = |byte: &u8| (b' '..=b'~').contains(byte);
        let fine = (1..=LONGEST).contains(&key.len()) && key.as_bytes().iter().all(printable);
        if !fine || given.next().is_some() {
            return Err(Problem::new(
                INVALID_IDEMPOTENCY_KEY,
                format!(
                    "Idempotency-Key must be one text of 1 to {LONGEST} printable ASCII characters"
                ),
            ));
        }
        let endpoint: &[u8] = match mode {
            Mode::Sync => b"/run",
            Mode::Async => b"/run-async",
        };
        Ok(Some(Self {
            hash: hash(&[scope.as_bytes(), key.as_bytes()]),
            fingerprint: hash(&[endpoint, body]),
        }))
    }
}

/// Of the parts, none of whose bytes can be taken for another's.
fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// Lets the requests of this gateway that bear one key come one after another, so that only the first
/// is checked, sealed and queued. Between gateways the bucket decides.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// It is this request's turn, or will be, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    hash: String,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the request's turn. None where too many wait under this key, or this one did for too long.
    pub(super) async fn take(self: &Arc<Self>, hash: &str) -> Option<Turn> {
        self.take_within(hash, LONGEST_WAIT).await
    }

    async fn take_within(self: &Arc<Self>, hash: &str, wait: Duration) -> Option<Turn> {
        let (line, mut turn) = {
            let mut taken = self.taken();
            let line = taken.entry(hash.to_owned()).or_default();
            // Each that waits or has its turn has one, and so has the map.
            if Arc::strong_count(line) > MOST {
                return None;
            }
            let turn = Turn {
                turns: Arc::clone(self),
                hash: hash.to_owned(),
                held: None,
            };
            (Arc::clone(line), turn)
        };
        let held = tokio::time::timeout(wait, line.lock_owned()).await;
        turn.held = Some(held.ok()?);
        Some(turn)
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Also of one that waited and went away.
impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.taken();
        drop(self.held.take());
        let line = taken.get(&self.hash);
        if line.is_some_and(|line| Arc::strong_count(line) == 1) {
            taken.remove(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use axum::http::HeaderValue;

    use super::*;

    fn key(value: &[u8], caller: &str, mode: Mode, body: &[u8]) -> Option<Key> {
        let value = HeaderValue::from_bytes(value).unwrap();
        let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, value)]);
        Key::of(&headers, caller, mode, body).unwrap()
    }

    #[test]
    fn a_key_is_its_callers_and_a_body_its_endpoints() {
        let one = key(b"k", "a", Mode::Sync, b"{}").unwrap();
        assert_eq!(key(b"k", "a", Mode::Sync, b"{}").unwrap(), one);
        assert_ne!(key(b"k", "b", Mode::Sync, b"{}").unwrap().hash, one.hash);
        assert_ne!(key(b"l", "a", Mode::Sync, b"{}").unwrap().hash, one.hash);
        for (mode, body) in [(Mode::Async, &b"{}"[..]), (Mode::Sync, b"{ }")] {
            let other = key(b"k", "a", mode, body).unwrap();
            assert_eq!(other.hash, one.hash);
            assert_ne!(other.fingerprint, one.fingerprint);
        }
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_eq!(
            Key::of(&HeaderMap::new(), "a", Mode::Sync, b"").unwrap(),
            None
        );
    }

    #[test]
    fn a_key_of_another_form_is_refused() {
        assert!(key(&[b'~'; 255], "a", Mode::Sync, b"").is_some());
        assert!(key(b"with \"quotes\" and blanks", "a", Mode::Sync, b"").is_some());
        for value in [&b""[..], &[b'x'; 256], "é".as_bytes(), b"a\tb"] {
            let value = HeaderValue::from_bytes(value).unwrap();
            let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, value.clone())]);
            assert!(
                Key::of(&headers, "a", Mode::Sync, b"").is_err(),
                "{value:?}"
            );
        }
        let one = || (IDEMPOTENCY_KEY, HeaderValue::from_static("x"));
        let mut twice = HeaderMap::new();
        for (name, value) in [one(), one()] {
            twice.append(name, value);
        }
        assert!(Key::of(&twice, "a", Mode::Sync, b"").is_err());
    }

    #[tokio::test]
    async fn turns_come_one_after_another_and_leave_nothing_behind() {
        let turns = Arc::new(Turns::default());
        let first = turns.take("k").await;
        let other = turns.take("l").await;
        let take = || {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.take("k").await.is_some() })
        };
        let (waits, goes) = (take(), take());
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        goes.abort();
        drop(first);
        assert!(waits.await.unwrap());
        drop(other);
        assert!(goes.await.unwrap_err().is_cancelled());
        assert!(turns.taken().is_empty());
    }

    #[tokio::test]
    async fn who_waits_is_bounded_in_number_and_in_time() {
        let turns = Arc::new(Turns::default());
        let first = turns.take("k").await.unwrap();
        let waiting: Vec<_> = (1..MOST)
            .map(|_| turns.take_within("k", Duration::from_millis(200)))
            .collect();
        let mut waiting = Box::pin(futures::future::join_all(waiting));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(turns.take("k").await.is_none());
        assert!(turns.take("l").await.is_some());
        assert!(waiting.await.iter().all(Option::is_none));
        drop(first);
        assert!(turns.taken().is_empty());
    }
}
