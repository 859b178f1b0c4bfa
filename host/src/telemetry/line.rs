//! One record as one line.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::Level;

use super::fields::Fields;

/// The key under which Cloud Logging finds a record's trace.
const TRACE: &str = "logging.googleapis.com/trace";

/// What one line says.
pub(super) struct Line<'a> {
    pub(super) time: Timestamp,
    pub(super) level: Level,
    pub(super) target: &'a str,
    pub(super) message: &'a str,
    pub(super) fields: &'a Fields,
}

impl Line<'_> {
    /// A JSON object and a line feed. What the log says itself stands over any field of that name.
    pub(super) fn to_json(&self) -> String {
        let mut record = Map::new();
        let own = [
            ("severity", severity(self.level).into()),
            ("time", self.time.to_string().into()),
            ("target", self.target.into()),
            ("message", self.message.into()),
        ];
        for (name, value) in &own {
            record.insert((*name).to_owned(), Value::clone(value));
        }
        for (name, value) in self
            .fields
            .iter()
            .filter(|(name, _)| !own.iter().any(|(taken, _)| taken == name))
        {
            let name = if name == "trace" { TRACE } else { name };
            record.insert(name.to_owned(), value.clone());
        }
        let json = Value::Object(record).to_string();
        let mut line = String::with_capacity(json.len() + 1);
        for character in json.chars() {
            // JSON itself escapes what is below a space; some viewers break lines or turn text at more.
            if breaks_lines(character) {
                let _ = write!(line, "\\u{:04x}", u32::from(character));
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        line
    }

    /// `22:59:55.123Z INFO  agent: message name=value` and a line feed.
    pub(super) fn to_text(&self, colour: bool) -> String {
        let mut line = self.time.strftime("%H:%M:%S%.3fZ ").to_string();
        let (before, after) = if colour {
            (paint(self.level), "\u{1b}[0m")
        } else {
            ("", "")
        };
        let _ = write!(line, "{before}{:5}{after} ", self.level.as_str());
        push(
            &mut line,
            self.target
                .strip_prefix("gatehouse::")
                .unwrap_or(self.target),
        );
        line.push_str(": ");
        push(&mut line, self.message);
        for (name, value) in self.fields.iter() {
            line.push(' ');
            push(&mut line, name);
            line.push('=');
            match value {
                Value::String(text) if is_word(text) => push(&mut line, text),
                value => push(&mut line, &value.to_string()),
            }
        }
        line.push('\n');
        line
    }
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

fn paint(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG | Level::TRACE => "\u{1b}[2m",
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text
            .contains(|character: char| character.is_whitespace() || "\"=\\".contains(character))
}

/// Adds text with everything escaped that could end the line, drive the terminal or turn the writing.
fn push(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            character if character.is_control() || breaks_lines(character) => {
                line.extend(character.escape_unicode())
            }
            character => line.push(character),
        }
    }
}

fn breaks_lines(character: char) -> bool {
    matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
