//! Public keys of those whose signatures count: files, or PEM in the settings themselves.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::AnyOf;
use crate::plugin::PublicKey;

/// Keys that may be known: each signature is tried with every one.
const MOST: usize = 16;
/// Bytes of a file with a key; real ones have about 200.
const SIZE: u64 = 16 << 10;

/// Names with their keys.
pub(super) fn public_keys<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, PublicKey>, D::Error> {
    let Value::Table(table) = Value::deserialize(from)? else {
        return Err(D::Error::custom(
            r#"expected names with keys, such as { alice = "keys/alice.pub" }"#,
        ));
    };
    if table.len() > MOST {
        return Err(D::Error::custom(format!("expected at most {MOST} keys")));
    }
    let mut keys = BTreeMap::new();
    for (name, value) in table {
        let key = key(&name, &value).map_err(D::Error::custom)?;
        // Two names for one key would be two signers where only one has signed.
        if let Some((other, _)) = keys.iter().find(|(_, known)| **known == key) {
            let message = format!("`{other}` and `{name}` are the same key: name it once");
            return Err(D::Error::custom(message));
        }
        keys.insert(name, key);
    }
    Ok(keys)
}

/// So many of some keys; empty means none.
pub(super) fn any_of<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AnyOf>, D::Error> {
    match Value::deserialize(from)? {
        Value::Table(table) if table.is_empty() => Ok(None),
        Value::Table(table) => match AnyOf::deserialize(table) {
            Ok(any_of) => Ok(Some(any_of)),
            Err(error) => Err(D::Error::custom(error.message())),
        },
        _ => Err(D::Error::custom(
            r#"expected a table such as { minimum = 2, keys = ["alice", "bob", "carol"] }"#,
        )),
    }
}

/// Makes each path absolute, from where the setting was written.
pub(super) fn absolute(keys: &mut Table, directory: &Path) {
    for (_, value) in keys.iter_mut() {
        if let Value::String(text) = value
            && !is_pem(text)
            && let Some(path) = directory.join(text.trim()).to_str()
        {
            *text = path.to_owned();
        }
    }
}

fn is_pem(text: &str) -> bool {
    text.trim_start().starts_with("-----")
}

fn key(name: &str, value: &Value) -> Result<PublicKey, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
        return Err(format!(
            "`{}` is no name for a key: 1 to 64 letters, digits, `-`, `_` and `.`",
            name.escape_debug()
        ));
    }
    let Value::String(text) = value else {
        return Err(format!(
            "`{name}`: expected the path of a file with a public key, or the key itself as PEM"
        ));
    };
    if is_pem(text) {
        return PublicKey::from_pem(text).map_err(|why| format!("`{name}` {why}"));
    }
    let pem = read(Path::new(text)).map_err(|why| format!("`{name}`: `{text}` {why}"))?;
    PublicKey::from_pem(&pem).map_err(|why| format!("`{name}`: `{text}` {why}"))
}

fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    file.take(SIZE + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    match text.len() as u64 > SIZE {
        true => Err(format!("is larger than {SIZE} bytes")),
        false => Ok(text),
    }
}
