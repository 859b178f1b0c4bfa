//! What a value may be: durations and sizes with their units, counts, lists in one word, secrets.
//!
//! Every reader takes the value as it stands in the file and fails with what was expected. The value
//! itself is repeated only where it cannot be a secret.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::Value;

use super::{Registries, Registry};

/// Longer waits are taken for a slip; this also keeps deadlines within what the clock can add up.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// Larger sizes are taken for a slip; sums of two sizes never overflow.
const LARGEST: u64 = 1 << 50;

const DURATION: &str =
    r#"a duration with its unit, such as "250ms", "30s", "5m" or "2h", at most a year"#;
const SIZE: &str = r#"a size with its unit, such as "512B", "64KiB", "2MiB" or "4GiB""#;

/// A size above zero, in bytes.
pub(super) fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(from)?;
    value
        .as_str()
        .and_then(parse_size)
        .ok_or_else(|| unexpected(&value, SIZE))
}

/// A duration above zero.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let value = Value::deserialize(from)?;
    let parsed = value
        .as_str()
        .and_then(parse_duration)
        .filter(|duration| !duration.is_zero());
    parsed.ok_or_else(|| unexpected(&value, &format!("{DURATION}, and above zero")))
}

/// A duration where "0s" means "at once".
pub(super) fn duration_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let value = Value::deserialize(from)?;
    value
        .as_str()
        .and_then(parse_duration)
        .ok_or_else(|| unexpected(&value, DURATION))
}

/// Several durations, zero among them.
pub(super) fn durations<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Duration>, D::Error> {
    let value = Value::deserialize(from)?;
    value
        .as_array()
        .and_then(|items| {
            items
                .iter()
                .map(|item| item.as_str().and_then(parse_duration))
                .collect()
        })
        .ok_or_else(|| unexpected(&value, r#"a list of durations, such as ["0s", "5m"]"#))
}

/// A whole number of at least one.
pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let value = Value::deserialize(from)?;
    let parsed = value
        .as_integer()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number > 0);
    parsed.ok_or_else(|| unexpected(&value, &format!("a whole number from 1 to {}", u32::MAX)))
}

/// A whole number.
pub(super) fn count_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let value = Value::deserialize(from)?;
    let parsed = value
        .as_integer()
        .and_then(|number| u32::try_from(number).ok());
    parsed.ok_or_else(|| unexpected(&value, &format!("a whole number from 0 to {}", u32::MAX)))
}

/// Address and port.
pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let value = Value::deserialize(from)?;
    let parsed = value.as_str().and_then(|text| text.trim().parse().ok());
    parsed.ok_or_else(|| {
        unexpected(
            &value,
            r#"an address with a port, such as "127.0.0.1:8080" or "[::]:8080""#,
        )
    })
}

/// An absolute URL. It is not repeated: people put passwords into URLs.
pub(super) fn url<'de, D: Deserializer<'de>>(from: D) -> Result<url::Url, D::Error> {
    let value = Value::deserialize(from)?;
    let parsed = value
        .as_str()
        .and_then(|text| url::Url::parse(text.trim()).ok());
    parsed.ok_or_else(|| D::Error::custom(r#"expected a URL such as "https://api.anthropic.com""#))
}

/// Text; empty means none.
pub(super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(from)?;
    let text = value
        .as_str()
        .ok_or_else(|| unexpected(&value, "text"))?
        .trim();
    Ok(Some(text)
        .filter(|text| !text.is_empty())
        .map(str::to_owned))
}

/// An address with its scheme; empty means none.
pub(super) fn optional_url<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<url::Url>, D::Error> {
    optional(from)?
        .map(|text| {
            url::Url::parse(&text).map_err(|_| {
                D::Error::custom("expected an address such as \"http://127.0.0.1:4443\"")
            })
        })
        .transpose()
}

/// A path; empty means none.
pub(super) fn optional_path<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<PathBuf>, D::Error> {
    Ok(optional(from)?.map(PathBuf::from))
}

/// Words in one text with commas between them, or a list of texts. A comma inside parentheses
/// belongs to its word: `Bash(git add:*), Edit(a,b)` is two.
pub(super) fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let value = Value::deserialize(from)?;
    parse_words(&value)
        .ok_or_else(|| unexpected(&value, "words with commas between them, or a list of texts"))
}

/// Secrets with commas between them, or a list of texts. Never repeated in an error.
pub(super) fn secrets<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SecretString>, D::Error> {
    let value = Value::deserialize(from)?;
    let secrets = match &value {
        // Whoever wrote something meant a secret: with none, nobody would be asked for one.
        Value::String(text) => Some(split_secrets(text))
            .filter(|secrets| !secrets.is_empty() || text.trim().is_empty()),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(SecretString::from))
            .collect(),
        _ => None,
    };
    secrets.ok_or_else(|| {
        D::Error::custom("expected secrets with commas between them, or a list of texts")
    })
}

/// Secrets with commas between them.
pub(super) fn split_secrets(text: &str) -> Vec<SecretString> {
    text.split(',')
        .map(str::trim)
        .filter(|secret| !secret.is_empty())
        .map(SecretString::from)
        .collect()
}

/// A secret; empty means none. Never repeated in an error.
pub(super) fn optional_secret<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<SecretString>, D::Error> {
    let value = Value::deserialize(from)?;
    let text = value
        .as_str()
        .ok_or_else(|| D::Error::custom("expected text"))?
        .trim();
    Ok(Some(text)
        .filter(|text| !text.is_empty())
        .map(SecretString::from))
}

/// Registries by their hosts. Never repeated in an error: passwords are among the values.
pub(super) fn registries<'de, D: Deserializer<'de>>(from: D) -> Result<Registries, D::Error> {
    let Value::Table(table) = Value::deserialize(from)? else {
        return Err(D::Error::custom(
            r#"expected registries by their hosts, such as { "registry.example" = { username = "…", password = "…" } }"#,
        ));
    };
    let read = |(host, value): (String, Value)| match Registry::deserialize(value) {
        Ok(registry) => Ok((host, registry)),
        Err(_) => Err(D::Error::custom(format!(
            "expected of `{host}` a table of username and password as texts, and plain_http as true or false"
        ))),
    };
    table.into_iter().map(read).collect()
}

fn unexpected<E: Error>(found: &Value, expected: &str) -> E {
    E::custom(format!("expected {expected}; found {found}"))
}

fn parse_words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(split_words(text)),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

fn split_words(text: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let words = text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    words
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|character: char| !character.is_ascii_digit())?);
    Some((number.parse().ok()?, unit.trim_start()))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(milliseconds)?))
        .filter(|duration| *duration <= LONGEST)
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1_u64 << 40,
        _ => return None,
    };
    number
        .checked_mul(factor)
        .filter(|size| (1..=LARGEST).contains(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_stay_within_a_year() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration(" 5 m "), Some(Duration::from_secs(300)));
        for wrong in [
            "",
            "5",
            "m",
            "-5s",
            "1.5h",
            "5 minutes",
            "9999999h",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_need_a_unit_and_are_binary() {
        assert_eq!(parse_size("2MiB"), Some(2 << 20));
        assert_eq!(parse_size("1TiB"), Some(1 << 40));
        for wrong in [
            "",
            "5",
            "2MB",
            "0KiB",
            "-1B",
            "18446744073709551615GiB",
            "2048TiB",
        ] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_comma_inside_parentheses_does_not_end_a_word() {
        assert_eq!(
            split_words("Read, Bash(a,b) ,,Edit"),
            ["Read", "Bash(a,b)", "Edit"]
        );
        assert!(split_words(" ").is_empty());
    }
}
