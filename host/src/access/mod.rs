//! Who calls: by a key or a token, and how much they may ask.
//!
//! Knows keys by their SHA-256 only: they are random and long, so that a hash that is fast to make gives
//! nothing away. `token` checks tokens of OpenID Connect with the keys that `issuer` fetches; `limits` counts.
//! Does not know HTTP; what a caller may see is asked of [`Caller`].

mod issuer;
mod limits;
mod token;

use std::sync::{Arc, Mutex, PoisonError};

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{self, KeyDigest};
use crate::outbound::Forbidden;

pub use limits::{Limits, Rates, Standing, StreamPlace};
use token::{Tokens, Wrong};

/// The operator's name in records.
pub const OPERATOR: &str = "operator";

/// The tenant of what nobody can tell any more whose it is; no caller's can be named so.
pub const NOBODY: &str = "?";

/// Where nobody is asked.
const ANONYMOUS: &str = "anonymous";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// In records: a key's name; of a key without one `key-` and the first eight digits of its hash; of a
    /// token `oidc:` and the claim; `anonymous`; `operator`. For people: two callers may have one name.
    pub name: String,
    /// Whose tasks it makes and sees. Empty: the default one.
    pub tenant: String,
    /// What is one caller's alone hangs on this. Told to nobody.
    pub scope: String,
    /// Sees everything, and has no limits.
    pub operator: bool,
}

impl Caller {
    fn named(name: String, tenant: String, kind: &str) -> Self {
        // No tenant holds a stroke, so that no two of them come to one scope.
        let scope = format!("{kind}/{tenant}/{name}");
        Self {
            name,
            tenant,
            scope,
            operator: false,
        }
    }

    fn unnamed(name: &str, scope: &str) -> Self {
        Self {
            name: name.to_owned(),
            tenant: String::new(),
            scope: scope.to_owned(),
            operator: name == OPERATOR,
        }
    }

    /// Whether it may know of what is this tenant's.
    pub fn sees(&self, tenant: &str) -> bool {
        self.operator || self.tenant == tenant
    }

    /// The one tenant that it sees; none: all.
    pub fn only_tenant(&self) -> Option<&str> {
        (!self.operator).then_some(self.tenant.as_str())
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing was shown, or nothing that counts here.
    Unknown,
    /// A token that does not count here and is no guess: the issuer signed it, or its key is not known yet.
    NoGuess,
    /// A token that cannot be judged now: the issuer's keys cannot be had.
    IssuerAway,
}

/// All who may call, and what is counted of them.
#[derive(Debug)]
pub struct Access {
    /// Those that were last told of; they may be turned while the gateway runs.
    keys: Mutex<Arc<Keys>>,
    tokens: Option<Tokens>,
    /// Decided once: no key that is turned or lost later opens the gateway.
    asks: bool,
    tenants: bool,
    /// What each may ask.
    pub limits: Limits,
}

impl Access {
    /// By `[auth]`, with the operator's key filled in.
    pub fn new(auth: &config::Auth) -> Result<Self, Forbidden> {
        let keys = Keys::of(auth);
        let tokens = Tokens::new(&auth.oidc)?;
        Ok(Self {
            asks: tokens.is_some() || !keys.unnamed.is_empty() || !keys.named.is_empty(),
            keys: Mutex::new(Arc::new(keys)),
            tokens,
            tenants: auth.oidc.tenant_claim.is_some()
                || auth.keys.values().any(|key| !key.tenant.is_empty()),
            limits: Limits::new(&auth.limits),
        })
    }

    /// From now on these keys are good, and no others. Everything else stays as it was at the start.
    pub fn renew(&self, auth: &config::Auth) {
        let keys = Arc::new(Keys::of(auth));
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn keys(&self) -> Arc<Keys> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }

    /// Whether somebody who shows nothing is refused.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Whether the caller may know of what nobody can tell any more whose it is.
    pub fn sees_what_is_nobodys(&self, caller: &Caller) -> bool {
        caller.operator || !self.tenants
    }

    /// Whether the caller may know of what is this tenant's, or nobody's.
    pub fn shows(&self, caller: &Caller, tenant: &str) -> bool {
        caller.sees(tenant) || (tenant == NOBODY && self.sees_what_is_nobodys(caller))
    }

    /// The operator, where this is its key.
    pub fn operator(&self, shown: &str) -> Option<Caller> {
        is_one_of(&self.keys().operator, &digest(shown))
            .then(|| Caller::unnamed(OPERATOR, OPERATOR))
    }

    /// Who shows this, the operator left aside.
    pub async fn identify(&self, shown: Option<&str>) -> Result<Caller, Refused> {
        if !self.asks {
            return Ok(Caller::unnamed(ANONYMOUS, ANONYMOUS));
        }
        let shown = shown.ok_or(Refused::Unknown)?;
        if let Some(caller) = self.keys().caller(shown) {
            return Ok(caller);
        }
        let Some(tokens) = &self.tokens else {
            return Err(Refused::Unknown);
        };
        tokens.identify(shown).await.map_err(|wrong| match wrong {
            Wrong::Token(why) => {
                tracing::debug!(why, "a token was refused");
                Refused::Unknown
            }
            Wrong::NoGuess(why) => {
                tracing::debug!(why, "a token was refused");
                Refused::NoGuess
            }
            Wrong::IssuerAway => Refused::IssuerAway,
        })
    }
}

/// Keys by their hashes.
#[derive(Debug)]
struct Keys {
    operator: Vec<KeyDigest>,
    unnamed: Vec<KeyDigest>,
    named: Vec<(KeyDigest, Caller)>,
}

impl Keys {
    fn of(auth: &config::Auth) -> Self {
        let hash = |key: &secrecy::SecretString| digest(key.expose_secret());
        let operator = auth.admin_key.iter().map(hash);
        let named = auth.keys.iter().flat_map(|(name, key)| {
            let caller = Caller::named(name.clone(), key.tenant.clone(), "key");
            key.sha256
                .iter()
                .map(move |digest| (*digest, caller.clone()))
        });
        Self {
            operator: operator.chain(auth.admin_sha256.iter().copied()).collect(),
            unnamed: auth.api_keys.iter().map(hash).collect(),
            named: named.collect(),
        }
    }

    fn caller(&self, shown: &str) -> Option<Caller> {
        let shown = digest(shown);
        // All of them are compared, so that time tells no place.
        let mut found = None;
        for (digest, caller) in &self.named {
            if bool::from(digest.as_slice().ct_eq(shown.as_slice())) {
                found = Some(caller.clone());
            }
        }
        let scope = hex::encode(shown);
        let short: String = scope.chars().take(8).collect();
        let unnamed = is_one_of(&self.unnamed, &shown);
        found.or_else(|| unnamed.then(|| Caller::unnamed(&format!("key-{short}"), &scope)))
    }
}

fn digest(key: &str) -> KeyDigest {
    Sha256::digest(key).into()
}

/// Digests of one length are compared, all of them, so that time tells neither length nor place.
fn is_one_of(known: &[KeyDigest], shown: &KeyDigest) -> bool {
    let fits = known.iter().fold(Choice::from(0), |fits, digest| {
        fits | digest.as_slice().ct_eq(shown.as_slice())
    });
    fits.into()
}

#[cfg(test)]
mod tests;
