//! The story of a task for a person at a terminal: turns, tool calls with the verdict of the policy,
//! results, cost.

use std::collections::HashMap;

use serde_json::Value;

/// Longest excerpt of anything the agent wrote, in characters.
const EXCERPT: usize = 160;

/// Writes to standard output as events come.
#[derive(Debug)]
pub(super) struct Renderer {
    colour: bool,
    turn: u32,
    last_message: String,
    /// Call id to the tool's name, for results that come later.
    calls: HashMap<String, String>,
}

#[derive(Clone, Copy)]
enum Paint {
    Bold,
    Dim,
    Green,
    Red,
    Yellow,
    Cyan,
}

impl Renderer {
    pub(super) fn new(colour: bool) -> Self {
        Self {
            colour,
            turn: 0,
            last_message: String::new(),
            calls: HashMap::new(),
        }
    }

    pub(super) fn show(&mut self, name: &str, event: &Value) {
        match name {
            "task" => println!(
                "{} {}",
                self.paint(Paint::Bold, "task"),
                text(event, "taskId")
            ),
            "error" => println!(
                "{} {}",
                self.paint(Paint::Red, "error"),
                harmless(text(event, "error"))
            ),
            "cancelled" => println!(
                "{} {}",
                self.paint(Paint::Yellow, "cancelled"),
                text(event, "message")
            ),
            "done" => self.show_report(event),
            _ => match text(event, "type") {
                "assistant" => self.show_assistant(event),
                "user" => self.show_results(event),
                "gatehouse" => self.show_ours(event),
                "text" => println!("  {}", excerpt(text(event, "content"))),
                _ => {}
            },
        }
    }

    fn show_assistant(&mut self, event: &Value) {
        let message = event.get("message").unwrap_or(&Value::Null);
        if text(message, "id") != self.last_message {
            text(message, "id").clone_into(&mut self.last_message);
            self.turn += 1;
            println!(
                "{}",
                self.paint(Paint::Dim, &format!("── turn {} ──", self.turn))
            );
        }
        for block in blocks(message) {
            match text(block, "type") {
                "text" => println!("  {}", excerpt(text(block, "text"))),
                "tool_use" => {
                    let tool = text(block, "name");
                    self.calls
                        .insert(text(block, "id").to_owned(), tool.to_owned());
                    let input = block.get("input").map(Value::to_string).unwrap_or_default();
                    println!("  {} {}", self.paint(Paint::Cyan, tool), excerpt(&input));
                }
                _ => {}
            }
        }
    }

    fn show_results(&self, event: &Value) {
        let message = event.get("message").unwrap_or(&Value::Null);
        for block in blocks(message).filter(|block| text(block, "type") == "tool_result") {
            let tool = self
                .calls
                .get(text(block, "tool_use_id"))
                .map_or("tool", String::as_str);
            let failed = block
                .get("is_error")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            let content = match block.get("content") {
                Some(Value::String(content)) => content.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            let mark = if failed {
                self.paint(Paint::Red, "✗")
            } else {
                self.paint(Paint::Green, "✓")
            };
            println!(
                "    {mark} {} {}",
                self.paint(Paint::Dim, tool),
                excerpt(&content)
            );
        }
    }

    fn show_ours(&self, event: &Value) {
        if text(event, "event") == "decision" {
            let verdict = text(event, "verdict");
            let paint = if verdict == "deny" {
                Paint::Red
            } else {
                Paint::Green
            };
            let why = event
                .get("reason")
                .and_then(Value::as_str)
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            let by = ["plugin", "group"]
                .iter()
                .find_map(|whose| event.get(*whose)?.as_str())
                .map(|name| format!(" by {name}"))
                .unwrap_or_default();
            let micros = event.get("micros").and_then(Value::as_u64).unwrap_or(0);
            println!(
                "    policy {}{by} in {micros} µs{}",
                self.paint(paint, verdict),
                excerpt(&why)
            );
            return;
        }
        let words: Vec<String> = ["phase", "event", "action", "command", "state", "text"]
            .iter()
            .filter_map(|key| event.get(*key))
            .map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            })
            .collect();
        println!(
            "{}",
            self.paint(
                Paint::Dim,
                &format!("gatehouse: {}", excerpt(&words.join(" ")))
            )
        );
    }

    fn show_report(&self, report: &Value) {
        let status = text(report, "status");
        let paint = if status == "completed" {
            Paint::Green
        } else {
            Paint::Red
        };
        let reason = report
            .get("reason")
            .and_then(Value::as_str)
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        println!("{}{reason}", self.paint(paint, status));
        if let Some(result) = report.get("result").and_then(Value::as_str) {
            println!("  {}", harmless(result));
        }
        let summary = report.get("summary").unwrap_or(&Value::Null);
        let number =
            |value: &Value, key: &str| value.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        println!(
            "  {} turns, ${:.4}, {:.1} s",
            number(summary, "turns"),
            number(report, "costUsd"),
            number(summary, "durationMs") / 1000.0
        );
        for file in report
            .get("uploadedFiles")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            println!(
                "  kept {} at {}",
                harmless(text(file, "originalPath")),
                harmless(text(file, "gcsPath"))
            );
        }
        println!("  events: {}", text(report, "logsPath"));
    }

    fn paint(&self, paint: Paint, words: &str) -> String {
        if !self.colour {
            return words.to_owned();
        }
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Green => "32",
            Paint::Red => "31",
            Paint::Yellow => "33",
            Paint::Cyan => "36",
        };
        format!("\u{1b}[{code}m{words}\u{1b}[0m")
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn blocks(message: &Value) -> impl Iterator<Item = &Value> {
    message
        .get("content")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Whole, over several lines where it has them: what an agent writes, names of files included, must
/// not steer the terminal.
fn harmless(words: &str) -> String {
    words
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect()
}

/// The beginning, on one line.
fn excerpt(words: &str) -> String {
    let clean = harmless(words).replace('\n', " ");
    if clean.chars().count() <= EXCERPT {
        return clean;
    }
    let head: String = clean.chars().take(EXCERPT).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::{EXCERPT, excerpt, harmless};

    #[test]
    fn what_an_agent_writes_does_not_steer_the_terminal() {
        let hostile = "a\u{1b}[2Jb\r\u{9b}31m\nc";
        assert_eq!(harmless(hostile), "a [2Jb  31m\nc");
        assert_eq!(excerpt(hostile), "a [2Jb  31m c");
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        let cut = excerpt(&"é".repeat(EXCERPT + 1));
        assert_eq!(cut.chars().count(), EXCERPT + 1);
        assert!(cut.ends_with('…'));
    }
}
