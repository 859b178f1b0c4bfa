//! Tokens of OpenID Connect: signed by the issuer, for us, in force, and of whom.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::Caller;
use super::issuer::IssuerKeys;
use crate::config::{self, is_tenant};
use crate::outbound::Forbidden;

/// Bytes of a token; real ones have one or two thousand.
const LONGEST: usize = 16 << 10;
/// Bytes of a name.
const LONGEST_NAME: usize = 256;
/// Seconds by which clocks may differ.
const SKEW: u64 = 60;

/// Why a token is not taken.
#[derive(Debug)]
pub(super) enum Wrong {
    /// For the log; holds nothing of the token.
    Token(String),
    /// The same; but the issuer signed it, or nobody could look whether it did.
    NoGuess(String),
    /// It may be good; nobody can tell now.
    IssuerAway,
}

fn wrong(why: &str) -> Wrong {
    Wrong::Token(why.to_owned())
}

/// Whose tokens are good, and what they must say.
#[derive(Debug)]
pub(super) struct Tokens {
    issuer: String,
    audience: Vec<String>,
    caller_claim: String,
    tenant_claim: Option<String>,
    require: BTreeMap<String, Vec<String>>,
    keys: IssuerKeys,
}

impl Tokens {
    /// None where there is no issuer.
    pub(super) fn new(oidc: &config::Oidc) -> Result<Option<Self>, Forbidden> {
        let Some(issuer) = &oidc.issuer else {
            return Ok(None);
        };
        Ok(Some(Self {
            issuer: issuer.clone(),
            audience: oidc.audience.clone(),
            caller_claim: oidc.caller_claim.clone(),
            tenant_claim: oidc.tenant_claim.clone(),
            require: oidc.require.clone(),
            keys: IssuerKeys::of(issuer, oidc.jwks_url.clone())?,
        }))
    }

    /// Who shows this token.
    pub(super) async fn identify(&self, token: &str) -> Result<Caller, Wrong> {
        if token.len() > LONGEST || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return Err(wrong("it is no token"));
        }
        let header = decode_header(token).map_err(|error| Wrong::Token(error.to_string()))?;
        // What must be understood and is not (RFC 7515, 4.1.11). Of what else it says, only the key's name
        // counts: the key and its algorithm are the issuer's, whatever address or key the token brings.
        if header.crit.is_some() {
            return Err(wrong("it has critical extensions"));
        }
        let name = header.kid.ok_or_else(|| wrong("it names no key"))?;
        let key = self.keys.named(&name).await?;
        let key = key.ok_or_else(|| wrong("the issuer has no such key"))?;

        let mut validation = Validation::new(key.algorithm);
        validation.leeway = SKEW;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&self.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims = decode::<Map<String, Value>>(token, &key.key, &validation)
            .map_err(|error| match is_about_claims(error.kind()) {
                true => Wrong::NoGuess(error.to_string()),
                false => Wrong::Token(error.to_string()),
            })?
            .claims;
        self.caller(&claims, Timestamp::now())
            .map_err(Wrong::NoGuess)
    }

    /// Whom the claims of a token with a good signature name.
    fn caller(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Caller, String> {
        let latest = now.as_second().saturating_add_unsigned(SKEW);
        if let Some(issued) = claims.get("iat")
            && issued.as_f64().is_none_or(|issued| issued > latest as f64)
        {
            return Err("it was issued in the future".to_owned());
        }
        // An issuer may pass on what its users wrote themselves. Some say that they looked in a text.
        let by_email = self.caller_claim == "email"
            || self.tenant_claim.as_deref() == Some("email")
            || self.require.contains_key("email");
        let verified = match claims.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(verified)) => verified == "true",
            _ => false,
        };
        if by_email && !verified {
            return Err("its email is not verified".to_owned());
        }
        for (claim, values) in &self.require {
            let is_one = |value: &Value| {
                value
                    .as_str()
                    .is_some_and(|text| values.iter().any(|value| value == text))
            };
            let fits = match claims.get(claim) {
                Some(Value::Array(items)) => items.iter().any(is_one),
                Some(value) => is_one(value),
                None => false,
            };
            if !fits {
                return Err(format!("`{claim}` is not as required"));
            }
        }
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        let name = text(&self.caller_claim).filter(|name| {
            (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
        });
        let name = name.ok_or("it does not tell who calls")?;
        let tenant = match &self.tenant_claim {
            None => "",
            Some(claim) => text(claim)
                .filter(|tenant| is_tenant(tenant))
                .ok_or("it does not tell the tenant")?,
        };
        let name = format!("oidc:{name}");
        Ok(Caller::named(name, tenant.to_owned(), "token"))
    }
}

/// Claims are looked at when the signature was found to be good.
fn is_about_claims(error: &ErrorKind) -> bool {
    matches!(
        error,
        ErrorKind::ExpiredSignature
            | ErrorKind::ImmatureSignature
            | ErrorKind::InvalidIssuer
            | ErrorKind::InvalidAudience
            | ErrorKind::InvalidSubject
            | ErrorKind::MissingRequiredClaim(_)
            | ErrorKind::InvalidClaimFormat(_)
    )
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
