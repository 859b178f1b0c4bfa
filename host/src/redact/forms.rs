//! The forms in which a secret gets into output by accident.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter values, and shorter forms, are not looked for: they would match by chance.
const SHORTEST: usize = 6;
/// A line of a secret with several lines counts from here on.
const SHORTEST_LINE: usize = 16;
/// Values that are no secrets, though they came as such.
const WORDS: [&str; 16] = [
    "default",
    "development",
    "disabled",
    "enabled",
    "github",
    "latest",
    "localhost",
    "master",
    "origin",
    "production",
    "staging",
    "stable",
    "string",
    "testing",
    "undefined",
    "unknown",
];

/// Adds every form of `secret`.
pub(super) fn add(secret: &str, forms: &mut BTreeSet<String>) {
    add_value(secret, forms);
    // What `echo` and editors put at the end is not part of it everywhere.
    add_value(secret.trim(), forms);
    if secret.trim().lines().nth(1).is_some() {
        let lines = secret.lines().map(str::trim);
        lines
            .filter(|line| line.chars().count() >= SHORTEST_LINE)
            .for_each(|line| add_value(line, forms));
    }
}

fn add_value(value: &str, forms: &mut BTreeSet<String>) {
    if value.chars().count() < SHORTEST || WORDS.contains(&value.to_ascii_lowercase().as_str()) {
        return;
    }
    let plain = value.to_owned();
    let all = std::iter::once(plain)
        .chain(json(value))
        .chain(percent(value))
        .chain(base64(value));
    forms.extend(all.filter(|form| form.len() >= SHORTEST));
}

/// As the content of a JSON string: with and without `\/`, with and without `\u` for what is not
/// ASCII (PHP) or not printable ASCII (Python) and for `<>&` (Go), in both cases of hex; and once
/// more escaped, for JSON that was printed into JSON.
fn json(value: &str) -> Vec<String> {
    let mut escaped = Vec::new();
    for slash in [false, true] {
        for escaped_from in [None, Some('\u{80}'), Some('\u{7f}')] {
            for html in [false, true] {
                for upper in [false, true] {
                    escaped.push(json_string(value, slash, escaped_from, html, upper));
                }
            }
        }
    }
    let twice: Vec<_> = escaped
        .iter()
        .map(|once| json_string(once, false, None, false, false))
        .collect();
    escaped.extend(twice);
    escaped
}

fn json_string(
    value: &str,
    slash: bool,
    escaped_from: Option<char>,
    html: bool,
    upper: bool,
) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if slash => out.push_str("\\/"),
            '<' | '>' | '&' if html => push_unicode(character, upper, &mut out),
            control if control < ' ' => push_unicode(control, upper, &mut out),
            other if escaped_from.is_some_and(|from| other >= from) => {
                push_unicode(other, upper, &mut out)
            }
            other => out.push(other),
        }
    }
    out
}

fn push_unicode(character: char, upper: bool, out: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = if upper {
            write!(out, "\\u{unit:04X}")
        } else {
            write!(out, "\\u{unit:04x}")
        };
    }
}

/// By the sets of characters that are commonly left as they are, in both cases of hex; and with `+`
/// for a space, as forms have it.
fn percent(value: &str) -> Vec<String> {
    // RFC 3986 and Python's `quote_plus`, Python's `quote`, `encodeURIComponent`, forms in the WHATWG
    // sense, `encodeURI`.
    const KEPT: [&str; 5] = ["-._~", "-._~/", "-._~!*'()", "-._*", "-._~!*'();,/?:@&=+$#"];
    let mut forms = Vec::new();
    for kept in KEPT {
        for upper in [false, true] {
            let form = percent_encoded(value, kept, upper);
            if form.contains("%20") {
                forms.push(form.replace("%20", "+"));
            }
            forms.push(form);
        }
    }
    forms
}

fn percent_encoded(value: &str, kept: &str, upper: bool) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = if upper {
                write!(out, "%{byte:02X}")
            } else {
                write!(out, "%{byte:02x}")
            };
        }
    }
    out
}

/// As a part of a longer text in base64: at each of the three places where it can begin in a group,
/// and of each only the characters that hold nothing but the secret.
fn base64(value: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(value.as_bytes());
        let first = (before * 8).div_ceil(6);
        let end = bytes.len() * 8 / 6;
        for encoded in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            let form = encoded.get(first..end).unwrap_or_default();
            forms.push(form.to_owned());
            // In JSON, the slash of the standard alphabet may be escaped.
            if form.contains('/') {
                forms.push(form.replace('/', "\\/"));
            }
        }
    }
    forms
}
