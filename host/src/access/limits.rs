//! How much may be asked: buckets that fill up again, and streams that are open.
//!
//! One bucket per caller or address, whatever its connections. It holds as many tokens as may be asked in a
//! minute and fills up within one. All of it is this process's own.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config;

/// Buckets of one kind. Those that are full again are forgotten first; beyond it all who are new share one.
const MOST_BUCKETS: usize = 10_000;

const MINUTE: f64 = 60.0;

/// Below nothing a bucket goes so many times its size: whoever fails at once on many connections pays for
/// all of it afterwards.
const DEEPEST: f64 = 10.0;

/// What one has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// A minute, and at once.
    pub limit: u32,
    /// Now.
    pub remaining: u32,
    /// Until the bucket is full.
    pub full_in: Duration,
    /// Until one more may be asked; zero where it may.
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

/// Buckets of one size by their keys.
#[derive(Debug)]
pub struct Rates<K> {
    per_minute: u32,
    buckets: Mutex<HashMap<K, Bucket>>,
    /// Of whoever came when there was no room.
    others: Mutex<Option<Bucket>>,
}

impl<K: Eq + Hash> Rates<K> {
    /// 0 sets no limit.
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            buckets: Mutex::default(),
            others: Mutex::default(),
        }
    }

    /// Takes one; `wait` is above zero where there was none. None where there is no limit.
    pub fn take(&self, key: K, now: Instant) -> Option<Standing> {
        self.with(key, now, |bucket| {
            if bucket.level < 1.0 {
                return bucket.wait_for(1.0);
            }
            bucket.level -= 1.0;
            0.0
        })
    }

    /// Whether there is one. Who has no bucket was never charged, whatever others were.
    pub fn look(&self, key: &K, now: Instant) -> Option<Standing> {
        if self.per_minute == 0 {
            return None;
        }
        let size = f64::from(self.per_minute);
        let bucket = locked(&self.buckets).get(key).copied();
        let bucket = bucket.map_or(self.full(now), |bucket| bucket.filled(size, now));
        Some(self.standing(bucket, bucket.wait_for(1.0)))
    }

    /// Takes one that is owed where there is none. Where there is no room, whoever owes least is forgotten.
    pub fn charge(&self, key: K, now: Instant) -> Option<Standing>
    where
        K: Clone,
    {
        let size = f64::from(self.per_minute);
        let mut buckets = locked(&self.buckets);
        if buckets.len() >= MOST_BUCKETS && !buckets.contains_key(&key) {
            let level = |bucket: &Bucket| bucket.filled(size, now).level;
            let least = buckets
                .iter()
                .max_by(|(_, one), (_, other)| level(one).total_cmp(&level(other)));
            if let Some(least) = least.map(|(key, _)| key.clone()) {
                buckets.remove(&least);
            }
        }
        drop(buckets);
        self.with(key, now, |bucket| {
            bucket.level = (bucket.level - 1.0).max(size * -DEEPEST);
            bucket.wait_for(1.0)
        })
    }

    /// `act` tells how many tokens have to come first.
    fn with(&self, key: K, now: Instant, act: impl FnOnce(&mut Bucket) -> f64) -> Option<Standing> {
        if self.per_minute == 0 {
            return None;
        }
        let size = f64::from(self.per_minute);
        let full = self.full(now);
        let mut buckets = locked(&self.buckets);
        if buckets.len() >= MOST_BUCKETS && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| bucket.filled(size, now).level < size);
        }
        let mut others = locked(&self.others);
        let bucket = match buckets.len() >= MOST_BUCKETS && !buckets.contains_key(&key) {
            true => others.get_or_insert(full),
            false => buckets.entry(key).or_insert(full),
        };
        *bucket = bucket.filled(size, now);
        let missing = act(bucket);
        Some(self.standing(*bucket, missing))
    }

    fn full(&self, now: Instant) -> Bucket {
        Bucket {
            level: f64::from(self.per_minute),
            at: now,
        }
    }

    fn standing(&self, bucket: Bucket, missing: f64) -> Standing {
        let size = f64::from(self.per_minute);
        let seconds = |tokens: f64| Duration::from_secs_f64(tokens.max(0.0) * MINUTE / size);
        Standing {
            limit: self.per_minute,
            // Never above the limit, and nothing below zero.
            remaining: bucket.level.clamp(0.0, size) as u32,
            full_in: seconds(size - bucket.level),
            wait: seconds(missing),
        }
    }
}

impl Bucket {
    fn filled(self, size: f64, now: Instant) -> Self {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        Self {
            level: (self.level + since * size / MINUTE).min(size),
            at: now.max(self.at),
        }
    }

    fn wait_for(&self, tokens: f64) -> f64 {
        (tokens - self.level).max(0.0)
    }
}

/// Everything that is counted of callers.
#[derive(Debug)]
pub struct Limits {
    /// By [`super::Caller::scope`].
    pub requests: Rates<String>,
    /// Of them, those that bring a task.
    pub tasks: Rates<String>,
    /// What was shown and is nobody's, by address.
    pub failures: Rates<IpAddr>,
    /// `auth.limits.proxies`
    pub proxies: usize,
    streams: Arc<Streams>,
}

impl Limits {
    pub(super) fn new(limits: &config::Limits) -> Self {
        Self {
            requests: Rates::new(limits.requests_per_minute),
            tasks: Rates::new(limits.tasks_per_minute),
            failures: Rates::new(limits.failures_per_minute),
            proxies: limits.proxies,
            streams: Arc::new(Streams {
                most: limits.streams_per_caller,
                open: Mutex::default(),
            }),
        }
    }

    /// A place for one more stream of this scope; none where all are taken.
    pub fn stream(&self, scope: &str) -> Option<StreamPlace> {
        let most = self.streams.most;
        let mut open = locked(&self.streams.open);
        let number = open.entry(scope.to_owned()).or_default();
        if most > 0 && *number >= most {
            return None;
        }
        *number = number.saturating_add(1);
        Some(StreamPlace {
            streams: Arc::clone(&self.streams),
            scope: scope.to_owned(),
        })
    }
}

/// Never more scopes than there are connections.
#[derive(Debug)]
struct Streams {
    most: u32,
    open: Mutex<HashMap<String, u32>>,
}

/// An open stream's place; free again when dropped.
#[derive(Debug)]
pub struct StreamPlace {
    streams: Arc<Streams>,
    scope: String,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = locked(&self.streams.open);
        if let Some(number) = open.get_mut(&self.scope) {
            *number = number.saturating_sub(1);
            if *number == 0 {
                open.remove(&self.scope);
            }
        }
    }
}

/// Whoever holds it leaves it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    #[test]
    fn a_bucket_holds_a_minutes_worth_and_fills_up_within_one() {
        let rates = Rates::new(60);
        let now = Instant::now();
        for left in (0..60).rev() {
            assert_eq!(rates.take("a", now).unwrap().remaining, left);
        }
        let refused = rates.take("a", now).unwrap();
        assert_eq!(refused.wait, Duration::from_secs(1));
        assert_eq!(refused.full_in, Duration::from_secs(60));
        assert!(rates.take("b", now).unwrap().wait.is_zero());
        let later = now + Duration::from_secs(1);
        assert!(rates.take("a", later).unwrap().wait.is_zero());
        assert!(!rates.take("a", later).unwrap().wait.is_zero());
        let much_later = now + Duration::from_secs(600);
        assert_eq!(rates.take("a", much_later).unwrap().remaining, 59);
        assert_eq!(Rates::new(0).take("a", now), None);
    }

    #[test]
    fn what_failed_beyond_the_limit_is_paid_for_afterwards() {
        let rates = Rates::new(2);
        let now = Instant::now();
        for _ in 0..4 {
            rates.charge("a", now);
        }
        let wait = rates.look(&"a", now).unwrap().wait;
        assert_eq!(wait, Duration::from_secs(90));
        for _ in 0..1000 {
            rates.charge("a", now);
        }
        let wait = rates.look(&"a", now).unwrap().wait;
        assert!(wait <= Duration::from_secs(60 * 11), "{wait:?}");
    }

    #[test]
    fn beyond_the_most_buckets_the_new_share_one_and_full_ones_are_forgotten() {
        let rates = Rates::new(1);
        let now = Instant::now();
        for caller in 0..MOST_BUCKETS {
            assert!(rates.take(caller, now).unwrap().wait.is_zero());
        }
        assert!(rates.take(MOST_BUCKETS, now).unwrap().wait.is_zero());
        assert!(!rates.take(MOST_BUCKETS + 1, now).unwrap().wait.is_zero());
        assert_eq!(locked(&rates.buckets).len(), MOST_BUCKETS);
        let later = now + Duration::from_secs(60);
        assert!(rates.take(MOST_BUCKETS + 1, later).unwrap().wait.is_zero());
        assert_eq!(locked(&rates.buckets).len(), 1);
    }

    #[test]
    fn however_many_fail_nobody_else_is_locked_out_and_who_owes_least_is_forgotten() {
        let rates = Rates::new(1);
        let now = Instant::now();
        for address in 0..MOST_BUCKETS {
            rates.charge(address, now);
            rates.charge(address, now);
        }
        let later = now + Duration::from_secs(1);
        for newcomer in [MOST_BUCKETS, MOST_BUCKETS + 1] {
            assert!(rates.look(&newcomer, later).unwrap().wait.is_zero());
            rates.charge(newcomer, later);
            assert!(!rates.look(&newcomer, later).unwrap().wait.is_zero());
        }
        assert_eq!(locked(&rates.buckets).len(), MOST_BUCKETS);
        assert!(rates.look(&MOST_BUCKETS, later).unwrap().wait.is_zero());
        assert!(!rates.look(&0, later).unwrap().wait.is_zero());
    }
}
