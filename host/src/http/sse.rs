//! Server-sent events as bytes.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

/// An unnamed event: one line of the log under its number.
pub(super) fn line(sequence: u64, line: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(line.len() + 40);
    out.put_slice(format!("id: {sequence}\n").as_bytes());
    put_data(&mut out, line);
    out.put_u8(b'\n');
    out.freeze()
}

/// A named event. JSON that we write holds no line break.
pub(super) fn event(name: &str, data: &Value) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(format!("event: {name}\n").as_bytes());
    put_data(&mut out, data.to_string().as_bytes());
    out.put_u8(b'\n');
    out.freeze()
}

/// Keeps the connection open, and tells people who look; no program sees it.
pub(super) fn comment(text: &str) -> Bytes {
    Bytes::from(format!(": {text}\n\n"))
}

/// A line break inside the data, a lone CR too, would end the field: such data becomes several fields,
/// which the reader joins with a newline again. In JSON a raw line break can only stand between tokens.
fn put_data(out: &mut BytesMut, data: &[u8]) {
    let mut rest = data;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (piece, after) = match end {
            Some(end) => {
                let (piece, after) = rest.split_at(end);
                let after = after
                    .strip_prefix(b"\r\n")
                    .or_else(|| after.split_first().map(|(_, after)| after));
                (piece, after)
            }
            None => (rest, None),
        };
        out.put_slice(b"data: ");
        out.put_slice(piece);
        out.put_u8(b'\n');
        match after {
            Some(after) => rest = after,
            None => return,
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

    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_an_unnamed_event_with_its_number_and_its_bytes_unchanged() {
        let text = r#"{ "type":"x",  "text":"é \r" }"#;
        assert_eq!(line(7, text.as_bytes()), format!("id: 7\ndata: {text}\n\n"));
    }

    #[test]
    fn line_breaks_inside_become_fields_and_never_end_the_event() {
        assert_eq!(
            line(1, b"{\r\"a\":1}"),
            "id: 1\ndata: {\ndata: \"a\":1}\n\n"
        );
        assert_eq!(
            line(1, b"a\r\nb\nc\r"),
            "id: 1\ndata: a\ndata: b\ndata: c\ndata: \n\n"
        );
        assert_eq!(
            line(1, b"x\r\revent: done\r"),
            "id: 1\ndata: x\ndata: \ndata: event: done\ndata: \n\n"
        );
        assert_eq!(line(1, b""), "id: 1\ndata: \n\n");
    }

    #[test]
    fn a_named_event_carries_json_on_one_line() {
        assert_eq!(
            event("error", &json!({ "error": "a\nb" })),
            "event: error\ndata: {\"error\":\"a\\nb\"}\n\n"
        );
    }

    #[test]
    fn a_comment_is_no_event() {
        assert_eq!(comment("still here"), ": still here\n\n");
    }
}
