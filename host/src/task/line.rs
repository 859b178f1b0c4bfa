//! What a line of the log looks like: one JSON value, without a line break of any kind.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::json;

/// Makes a line of the agent's output fit for the log. JSON stays as it is, to the byte; anything
/// else becomes `{"type":"text","content":…}`, with U+FFFD for what is no UTF-8. None: it is blank.
///
/// Raw CR and LF can stand in JSON only between its tokens. They become spaces, which means the
/// same, so that no reader takes them for the end of the line.
pub(super) fn normal(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let line = without_line_end(line);
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let Some(json) = std::str::from_utf8(line).ok().filter(|text| is_json(text)) else {
        let content = String::from_utf8_lossy(line);
        return Some(Cow::Owned(
            json!({ "type": "text", "content": content })
                .to_string()
                .into_bytes(),
        ));
    };
    if !line.iter().any(is_break) {
        return Some(Cow::Borrowed(json.as_bytes()));
    }
    Some(Cow::Owned(
        line.iter()
            .map(|byte| if is_break(byte) { b' ' } else { *byte })
            .collect(),
    ))
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let kept = line
        .iter()
        .rposition(|byte| !is_break(byte))
        .map_or(0, |last| last + 1);
    line.get(..kept).unwrap_or_default()
}

fn is_break(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
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

    fn text(line: &[u8]) -> Option<String> {
        normal(line).map(|line| String::from_utf8(line.into_owned()).unwrap())
    }

    #[test]
    fn json_passes_byte_for_byte() {
        for line in [
            r#"{ "b":1.50, "a":1e400, "a":[ ],  "ü":"\u00fc\ud800" }"#,
            "[1,2]",
            "12345678901234567890",
            "null",
            r#""text""#,
        ] {
            assert!(
                matches!(normal(line.as_bytes()), Some(Cow::Borrowed(same)) if same == line.as_bytes()),
                "{line}"
            );
        }
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        assert_eq!(text(deep.as_bytes()).unwrap(), deep);
    }

    #[test]
    fn what_is_no_json_becomes_a_text_event() {
        let content = |line: &[u8]| {
            let event: serde_json::Value = serde_json::from_str(&text(line).unwrap()).unwrap();
            assert_eq!(event["type"], "text");
            event["content"].as_str().unwrap().to_owned()
        };
        assert_eq!(content(b"npm warn \"x\""), "npm warn \"x\"");
        assert_eq!(content(b"{\"a\":"), "{\"a\":");
        assert_eq!(content(b"{} {}"), "{} {}");
        assert_eq!(content(b"half \xe2\x82"), "half \u{fffd}");
        assert_eq!(content(b"a\0b\rc\nd"), "a\0b\rc\nd");
        assert_eq!(content(b"{\"a\":\"\xff\"}"), "{\"a\":\"\u{fffd}\"}");
    }

    #[test]
    fn no_line_break_of_any_kind_is_left() {
        assert_eq!(text(b"{\"a\":1}\r").unwrap(), r#"{"a":1}"#);
        assert_eq!(text(b"{\r\"a\":\n1}\r\n").unwrap(), r#"{ "a": 1}"#);
        assert!(!text(b"a\rb\n\rc").unwrap().contains(['\r', '\n']));
    }

    #[test]
    fn a_blank_line_is_dropped() {
        for line in [b"".as_ref(), b"\r", b"  \t", b"\n"] {
            assert_eq!(normal(line), None);
        }
    }
}
