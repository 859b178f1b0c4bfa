//! The public keys of an issuer: fetched when they are wanted, kept, and fetched anew when it signs with
//! another one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::token::Wrong;
use crate::config::{self, PrivateAddresses};
use crate::outbound::{Forbidden, Outbound, is_this_machine};

/// Bytes of a document of the issuer's, and keys in it.
const LARGEST: usize = 256 << 10;
const MOST_KEYS: usize = 100;
/// For each of its two documents.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long keys are good for.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Older ones are fetched anew, and are used meanwhile.
    fresh: Duration,
    /// Older ones are used no more, though the issuer may be away.
    kept: Duration,
    /// Between two attempts, whatever tokens name.
    between: Duration,
}

const TIMES: Times = Times {
    fresh: Duration::from_secs(60 * 60),
    kept: Duration::from_secs(24 * 60 * 60),
    between: Duration::from_secs(30),
};

/// A key, and the one algorithm that it is for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

type Keys = Arc<HashMap<String, Key>>;

/// The keys of one issuer. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct IssuerKeys {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    issuer: String,
    jwks_url: Option<Url>,
    outbound: Outbound,
    times: Times,
    known: Mutex<Known>,
    /// Whoever fetches holds it.
    turn: tokio::sync::Semaphore,
}

#[derive(Clone, Debug, Default)]
struct Known {
    keys: Keys,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

impl Known {
    fn is_younger(&self, age: Duration) -> bool {
        self.fetched.is_some_and(|at| at.elapsed() < age)
    }

    fn may_try(&self, between: Duration) -> bool {
        self.tried.is_none_or(|at| at.elapsed() >= between)
    }
}

impl IssuerKeys {
    pub(super) fn of(issuer: &str, jwks_url: Option<Url>) -> Result<Self, Forbidden> {
        Self::with(issuer, jwks_url, TIMES)
    }

    fn with(issuer: &str, jwks_url: Option<Url>, times: Times) -> Result<Self, Forbidden> {
        // The operator named it: it may be anywhere. Plain http was judged with the settings.
        let outbound = Outbound::by(&config::Outbound {
            private_addresses: PrivateAddresses::Allow,
            allow_http: false,
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                issuer: issuer.to_owned(),
                jwks_url,
                outbound,
                times,
                known: Mutex::default(),
                turn: tokio::sync::Semaphore::new(1),
            }),
        })
    }

    /// The key of this name; none where the issuer has none.
    pub(super) async fn named(&self, name: &str) -> Result<Option<Key>, Wrong> {
        let began = Instant::now();
        let shared = &self.shared;
        let times = shared.times;
        let known = shared.known();
        if known.is_younger(times.kept)
            && let Some(key) = known.keys.get(name)
        {
            if !known.is_younger(times.fresh) && known.may_try(times.between) {
                // Nobody waits for this: an issuer that hangs would hold up all.
                tokio::spawn(Arc::clone(shared).fetch_in_turn());
            }
            return Ok(Some(key.clone()));
        }
        if known.may_try(times.between) || shared.turn.available_permits() == 0 {
            Arc::clone(shared).fetch_in_turn().await;
        }
        let known = shared.known();
        if !known.is_younger(times.kept) {
            return Err(Wrong::IssuerAway);
        }
        match known.keys.get(name) {
            // The issuer may have made it since.
            None if known.fetched < Some(began) => Err(Wrong::NoGuess(
                "no such key is known, and the issuer cannot be asked again so soon".to_owned(),
            )),
            found => Ok(found.cloned()),
        }
    }
}

impl Shared {
    fn known(&self) -> Known {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Fetches the keys, unless somebody did while we waited.
    async fn fetch_in_turn(self: Arc<Self>) {
        let Ok(_turn) = self.turn.acquire().await else {
            return;
        };
        if !self.known().may_try(self.times.between) {
            return;
        }
        self.change(|known| known.tried = Some(Instant::now()));
        match self.fetch().await {
            Ok(keys) => self.change(|known| {
                known.keys = Arc::new(keys);
                known.fetched = Some(Instant::now());
            }),
            Err(why) => {
                tracing::warn!(issuer = self.issuer, why, "the issuer's keys cannot be had")
            }
        }
    }

    async fn fetch(&self) -> Result<HashMap<String, Key>, String> {
        let url = match &self.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let set: Set = self.get(url).await?;
        if set.keys.len() > MOST_KEYS {
            return Err(format!("it has more than {MOST_KEYS} keys"));
        }
        let keys: HashMap<_, _> = set.keys.into_iter().filter_map(key).collect();
        match keys.is_empty() {
            true => Err("none of its keys is for RS256, ES256 or EdDSA and has a name".to_owned()),
            false => Ok(keys),
        }
    }

    /// Where the keys lie, by OpenID Connect Discovery.
    async fn discover(&self) -> Result<Url, String> {
        let base = self.issuer.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let url = Url::parse(&url).map_err(|error| error.to_string())?;
        let here = is_this_machine(&url);
        let found: Discovery = self.get(url).await?;
        if found.issuer != self.issuer {
            return Err("its discovery document is another issuer's".to_owned());
        }
        let keys = found.jwks_uri;
        match keys.scheme() == "https" || (here && is_this_machine(&keys)) {
            true => Ok(keys),
            false => Err("its discovery document leads to keys without TLS".to_owned()),
        }
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, url: Url) -> Result<T, String> {
        let request = self
            .outbound
            .request(Method::GET, url)
            .map_err(|Forbidden(why)| why)?;
        let answer = request.timeout(PATIENCE).send().await;
        let mut answer = answer.map_err(|error| error.without_url().to_string())?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("it answered {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| error.without_url().to_string())?
        {
            if body.len() + chunk.len() > LARGEST {
                return Err(format!("it answered more than {LARGEST} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: Url,
}

/// Keys of kinds that nobody here knows must not keep out the others, so each is read by itself.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// A key that signs, with its name; none for what is of another use or kind.
fn key(value: Value) -> Option<(String, Key)> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let (algorithm, its_name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let common = &jwk.common;
    let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let is_for_it = common.key_algorithm.is_none_or(|named| named == its_name);
    let name = common.key_id.clone().filter(|_| signs && is_for_it)?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some((name, Key { algorithm, key }))
}

#[cfg(test)]
#[path = "issuer_tests.rs"]
mod tests;
