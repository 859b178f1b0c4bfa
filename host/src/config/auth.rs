//! Who may call: names and hashes of keys, tenants, claims of tokens.
//!
//! No reader repeats a value: whoever mistook a key's place for its hash's would find the key in the log.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::Value;

use super::{KeyDigest, NamedKey};

/// Named keys: each request is compared with all of them.
const MOST_KEYS: usize = 1000;
/// Hashes of one name.
const MOST_DIGESTS: usize = 4;
/// Claims that are looked at, and values of one.
const MOST_CLAIMS: usize = 16;
const MOST_VALUES: usize = 1000;
/// Bytes of a tenant's name, and of a caller's.
const LONGEST_TENANT: usize = 128;
const LONGEST_NAME: usize = 64;
/// Proxies in a row.
const MOST_PROXIES: usize = 8;

/// Whether this may be a tenant other than the default one, whose name is empty.
pub(crate) fn is_tenant(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    (1..=LONGEST_TENANT).contains(&name.len()) && name.bytes().all(allowed)
}

/// Whether a key may have this name. What names no key cannot be taken for one: the operator, whoever shows
/// a key without a name, and tokens, whose names hold a colon.
pub(crate) fn caller_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(allowed) {
        let name = name.escape_debug();
        return Err(format!(
            "`{name}` is no name for a key: 1 to {LONGEST_NAME} letters, digits, `-`, `_` and `.`"
        ));
    }
    if ["anonymous", "operator"].contains(&name) || name.starts_with("key-") {
        return Err(format!(
            "`{name}` is no name for a key: `anonymous`, `operator` and `key-…` are taken"
        ));
    }
    Ok(())
}

/// 64 hex digits each, with commas between them or as a list.
pub(super) fn digests<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<KeyDigest>, D::Error> {
    let value = Value::deserialize(from)?;
    read_digests(&value).ok_or_else(|| D::Error::custom(format!("expected {DIGESTS}")))
}

const DIGESTS: &str =
    "at most 4 SHA-256 hashes of keys, 64 hex digits each, as `gatehouse key new` prints them";

fn read_digests(value: &Value) -> Option<Vec<KeyDigest>> {
    let texts: Vec<&str> = match value {
        Value::String(text) => text
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect(),
        Value::Array(items) => items.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    if texts.len() > MOST_DIGESTS {
        return None;
    }
    let digest = |text: &str| hex::decode(text).ok()?.try_into().ok();
    texts.into_iter().map(digest).collect()
}

/// `auth.keys`.
pub(super) fn named_keys<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, NamedKey>, D::Error> {
    let Value::Table(table) = Value::deserialize(from)? else {
        return Err(D::Error::custom(
            r#"expected names with keys, such as { ci = { sha256 = ["…"], tenant = "team-a" } }"#,
        ));
    };
    if table.len() > MOST_KEYS {
        return Err(D::Error::custom(format!(
            "expected at most {MOST_KEYS} keys"
        )));
    }
    let read = |(name, value): (String, Value)| match named_key(&name, value) {
        Ok(key) => Ok((name, key)),
        Err(why) => Err(D::Error::custom(why)),
    };
    table.into_iter().map(read).collect()
}

fn named_key(name: &str, value: Value) -> Result<NamedKey, String> {
    caller_name(name)?;
    let expected =
        || format!("expected of `{name}` a table with sha256 and, where it has one, its tenant");
    let Value::Table(mut table) = value else {
        return Err(expected());
    };
    let sha256 = table.remove("sha256").as_ref().and_then(read_digests);
    let sha256 = sha256
        .filter(|sha256| !sha256.is_empty())
        .ok_or_else(|| format!("expected of `{name}` as sha256 one or {DIGESTS}"))?;
    let tenant = match table.remove("tenant") {
        None => String::new(),
        Some(Value::String(tenant)) if tenant.is_empty() || is_tenant(&tenant) => tenant,
        Some(_) => {
            return Err(format!(
                "expected of `{name}` as tenant 1 to {LONGEST_TENANT} letters, digits, `-`, `_`, `.`, `:` and `@`"
            ));
        }
    };
    match table.is_empty() {
        true => Ok(NamedKey { sha256, tenant }),
        false => Err(expected()),
    }
}

/// `auth.oidc.require`.
pub(super) fn claims<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let expected = || {
        D::Error::custom(
            r#"expected claims with what they must be, such as { hd = "example.com", email = ["a@example.com"] }"#,
        )
    };
    let Value::Table(table) = Value::deserialize(from)? else {
        return Err(expected());
    };
    let read = |(claim, value): (String, Value)| {
        let values = match value {
            Value::String(text) => Some(vec![text]),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        let values = values.filter(|values| (1..=MOST_VALUES).contains(&values.len()));
        Ok((claim, values.ok_or_else(expected)?))
    };
    match table.len() <= MOST_CLAIMS {
        true => table.into_iter().map(read).collect(),
        false => Err(D::Error::custom(format!(
            "expected at most {MOST_CLAIMS} claims"
        ))),
    }
}

/// How many; derived where it is empty, so it is text there.
pub(super) fn proxies<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let value = Value::deserialize(from)?;
    let number = match &value {
        Value::Integer(number) => usize::try_from(*number).ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .filter(|number| *number <= MOST_PROXIES)
        .ok_or_else(|| {
            D::Error::custom(format!("expected a whole number from 0 to {MOST_PROXIES}"))
        })
}
