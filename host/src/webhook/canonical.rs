//! JSON as `JSON.stringify(JSON.parse(text))` writes it, because receivers verify that.
//!
//! The receivers that callers have today parse the body and sign what they get by writing it again.
//! So the bytes that are signed must be a fixed point of that: numbers as doubles in their shortest
//! form, keys that look like array indices first and by value, escapes as JavaScript has them.

use serde_json::Value;

/// Keys up to here are array indices to JavaScript, and come first in an object.
const MAX_ARRAY_INDEX: u32 = u32::MAX - 1;

/// The canonical text of a value.
pub fn to_canonical_json(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, &mut text);
    text
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            let mut indices: Vec<(u32, &String, &Value)> = fields
                .iter()
                .filter_map(|(key, value)| Some((array_index(key)?, key, value)))
                .collect();
            indices.sort_unstable_by_key(|(index, _, _)| *index);
            let named = fields.iter().filter(|(key, _)| array_index(key).is_none());
            let ordered = indices
                .into_iter()
                .map(|(_, key, value)| (key, value))
                .chain(named);
            for (n, (key, value)) in ordered.enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
    }
}

/// Every number is a double to JavaScript, whole ones beyond 2^53 too.
fn write_number(number: &serde_json::Number, out: &mut String) {
    match number.as_f64() {
        Some(double) if double.is_finite() => {
            out.push_str(ryu_js::Buffer::new().format_finite(double));
        }
        // serde_json makes no such number; JavaScript would write it so.
        _ => out.push_str("null"),
    }
}

/// A string without lone surrogates, which Rust's cannot hold: U+2028 and all above U+001F stay raw.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// The key as an array index, where it is one in canonical form: `7`, but not `07` or `-0`.
fn array_index(key: &str) -> Option<u32> {
    let plain =
        key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
    let index = key.parse().ok().filter(|_| plain)?;
    (index <= MAX_ARRAY_INDEX).then_some(index)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use std::io::Write;
    use std::process::{Command, Stdio};

    use serde_json::{Map, json};

    use super::*;

    fn canonical(text: &str) -> String {
        to_canonical_json(&serde_json::from_str(text).unwrap())
    }

    /// Each document as `JSON.stringify(JSON.parse(…))` of the real thing.
    fn by_node(documents: &[String]) -> Vec<String> {
        let program = r#"
            const documents = JSON.parse(require("fs").readFileSync(0, "utf8"));
            process.stdout.write(JSON.stringify(documents.map(d => JSON.stringify(JSON.parse(d)))));
        "#;
        let mut node = Command::new("node")
            .args(["-e", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test compares with node, which must be installed");
        let mut stdin = node.stdin.take().unwrap();
        stdin
            .write_all(serde_json::to_string(documents).unwrap().as_bytes())
            .unwrap();
        drop(stdin);
        let output = node.wait_with_output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A small generator of its own, so that a failure can be repeated.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % sides
        }

        fn text(&mut self) -> String {
            const ALPHABET: &[&str] = &[
                "a",
                "Z",
                "0",
                "\"",
                "\\",
                "/",
                "\n",
                "\r",
                "\t",
                "\u{8}",
                "\u{c}",
                "\u{0}",
                "\u{1f}",
                "\u{7f}",
                "é",
                "\u{2028}",
                "\u{2029}",
                "\u{feff}",
                "😀",
                "中",
                "</script>",
                "\u{e000}",
                "\u{fffd}",
                "__proto__",
            ];
            let length = self.roll(8);
            (0..length)
                .map(|_| ALPHABET[self.roll(ALPHABET.len() as u64) as usize])
                .collect()
        }

        fn key(&mut self) -> String {
            match self.roll(4) {
                0 => self.roll(30).to_string(),
                1 => [
                    "01",
                    "-1",
                    "1.5",
                    "1e3",
                    "4294967294",
                    "4294967295",
                    "4294967296",
                    "__proto__",
                    "",
                ][self.roll(9) as usize]
                    .to_owned(),
                _ => self.text(),
            }
        }

        fn number(&mut self) -> Value {
            match self.roll(7) {
                0 => json!(self.roll(1000)),
                1 => json!(-(self.roll(1000) as i64)),
                2 => json!(u64::MAX - self.roll(5000)),
                3 => json!(i64::MIN + self.roll(5000) as i64),
                4 => json!(-0.0),
                5 => json!(self.roll(1 << 30) as f64 / 10f64.powi(self.roll(40) as i32 - 10)),
                _ => {
                    let bits = (self.roll(1 << 31) << 33)
                        ^ (self.roll(1 << 31) << 10)
                        ^ self.roll(1 << 31);
                    let double = f64::from_bits(bits);
                    json!(if double.is_finite() { double } else { 5e-324 })
                }
            }
        }

        fn value(&mut self, depth: u32) -> Value {
            match self.roll(if depth == 0 { 5 } else { 8 }) {
                0 => Value::Null,
                1 => Value::Bool(self.roll(2) == 0),
                2 => Value::String(self.text()),
                3 | 4 => self.number(),
                5 => (0..self.roll(5)).map(|_| self.value(depth - 1)).collect(),
                _ => {
                    let fields: Map<String, Value> = (0..self.roll(7))
                        .map(|_| (self.key(), self.value(depth - 1)))
                        .collect();
                    Value::Object(fields)
                }
            }
        }
    }

    #[test]
    fn what_node_writes_again_is_what_was_written() {
        let mut dice = Dice(20_240_607);
        let bodies: Vec<String> = (0..400)
            .map(|_| to_canonical_json(&dice.value(4)))
            .collect();
        for (ours, nodes) in bodies.iter().zip(by_node(&bodies)) {
            assert_eq!(*ours, nodes);
        }
    }

    #[test]
    fn node_reads_a_document_as_we_do() {
        let mut dice = Dice(7);
        let documents: Vec<String> = (0..200)
            .map(|_| serde_json::to_string_pretty(&dice.value(4)).unwrap())
            .collect();
        for (document, nodes) in documents.iter().zip(by_node(&documents)) {
            assert_eq!(canonical(document), nodes, "of {document}");
        }
    }

    #[test]
    fn keys_that_are_array_indices_come_first_and_by_value() {
        assert_eq!(
            canonical(r#"{"b":1,"10":2,"a":3,"9":4,"4294967295":5,"4294967294":6,"01":7}"#),
            r#"{"9":4,"10":2,"4294967294":6,"b":1,"a":3,"4294967295":5,"01":7}"#
        );
    }

    #[test]
    fn numbers_are_doubles_in_their_shortest_form() {
        assert_eq!(
            canonical(
                "[-0, -0.0, 1.0, 1e21, 123456789012345680000, 9007199254740993, 1e-7, 0.000001]"
            ),
            "[0,0,1,1e+21,123456789012345680000,9007199254740992,1e-7,0.000001]"
        );
    }
}
