//! What a Messages request tells, and the turn that answers it.

use serde_json::Value;

use crate::scenario::{Condition, Conversation, Scenarios, Tool, Turn};

/// A request's body, read leniently: what is missing is empty.
pub(crate) struct Request<'a>(pub(crate) &'a Value);

impl Request<'_> {
    pub(crate) fn model(&self) -> &str {
        self.0
            .get("model")
            .and_then(Value::as_str)
            .unwrap_or("unknown")
    }

    pub(crate) fn streams(&self) -> bool {
        self.0
            .get("stream")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// Length of everything that was sent, for made-up counts: a token is about four bytes.
    pub(crate) fn tokens(&self) -> u64 {
        tokens(&self.0.to_string())
    }

    fn messages(&self) -> impl DoubleEndedIterator<Item = &Value> {
        let messages = self.0.get("messages").and_then(Value::as_array);
        messages.into_iter().flatten()
    }

    fn first_user_message(&self) -> String {
        let mut messages = self.messages();
        let first = messages.find(|message| role(message) == Some("user"));
        first
            .and_then(|message| message.get("content"))
            .map(text)
            .unwrap_or_default()
    }

    fn system(&self) -> String {
        self.0.get("system").map(text).unwrap_or_default()
    }

    /// Text and whether it is an error, of each tool result of the last user message that has any.
    fn last_results(&self) -> Vec<(String, bool)> {
        let results = |message: &Value| -> Vec<(String, bool)> {
            let blocks = message.get("content").and_then(Value::as_array);
            let blocks = blocks.into_iter().flatten();
            blocks
                .filter(|block| kind(block) == Some("tool_result"))
                .map(|block| {
                    let error = block.get("is_error").and_then(Value::as_bool);
                    (
                        block.get("content").map(text).unwrap_or_default(),
                        error.unwrap_or(false),
                    )
                })
                .collect()
        };
        let mut found = self.messages().rev().map(results);
        found
            .find(|results| !results.is_empty())
            .unwrap_or_default()
    }

    /// The working directory, from the line of the CLI's prompt that names it.
    fn cwd(&self) -> String {
        let everything = [
            self.system(),
            self.messages()
                .filter_map(|m| m.get("content"))
                .map(text)
                .collect(),
        ];
        let mut lines = everything.iter().flat_map(|part| part.lines());
        lines
            .find_map(|line| line.split_once("orking directory: "))
            .map(|(_, path)| path.trim().to_owned())
            .unwrap_or_default()
    }

    /// The turn that answers, with its templates filled in. Without one, a turn that says why.
    pub(crate) fn turn(&self, scenarios: &Scenarios) -> Turn {
        let (prompt, system) = (self.first_user_message(), self.system());
        let fits = |conversation: &&Conversation| {
            let wanted = conversation.system.as_deref().unwrap_or_default();
            prompt.contains(&conversation.prompt) && system.contains(wanted)
        };
        let Some(conversation) = scenarios.conversations.iter().find(fits) else {
            return says("No scenario matches this request.");
        };
        let done = self
            .messages()
            .filter(|message| role(message) == Some("assistant"))
            .count();
        let length = conversation.turns.len().max(1);
        let next = if conversation.repeat {
            done % length
        } else {
            done
        };
        let Some(alternatives) = conversation.turns.get(next) else {
            return says(&format!(
                "The scenario has {length} turns and all are over."
            ));
        };
        let results = self.last_results();
        let holds = |turn: &&Turn| turn.when.holds(&results);
        let Some(turn) = alternatives.iter().find(holds) else {
            return says("No alternative of the scenario's turn holds.");
        };
        let results: Vec<String> = results.into_iter().map(|(text, _)| text).collect();
        let values = [
            ("{{prompt}}", prompt),
            ("{{cwd}}", self.cwd()),
            ("{{last_tool_result}}", results.join("\n")),
        ];
        let mut turn = turn.clone();
        turn.text = turn.text.map(|text| filled(&text, &values));
        turn.tools = turn
            .tools
            .into_iter()
            .map(|tool| Tool {
                input: filled_in(tool.input, &values),
                ..tool
            })
            .collect();
        turn
    }
}

impl Condition {
    fn holds(&self, results: &[(String, bool)]) -> bool {
        let error = results.iter().any(|(_, error)| *error);
        let contains = |part: &String| results.iter().any(|(text, _)| text.contains(part));
        self.last_result_is_error
            .is_none_or(|wanted| wanted == error)
            && self.last_result_contains.as_ref().is_none_or(contains)
    }
}

/// An answer that no scenario wrote, and says so.
fn says(text: &str) -> Turn {
    Turn {
        text: Some(format!("[scripted model, no AI] {text}")),
        ..Turn::default()
    }
}

/// About as many tokens as the real API would count.
pub(crate) fn tokens(text: &str) -> u64 {
    u64::try_from(text.len() / 4).unwrap_or(u64::MAX).max(1)
}

fn role(message: &Value) -> Option<&str> {
    message.get("role").and_then(Value::as_str)
}

fn kind(block: &Value) -> Option<&str> {
    block.get("type").and_then(Value::as_str)
}

/// A content, which is a string or a list of blocks, as text.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts = blocks
                .iter()
                .filter_map(|block| block.get("text")?.as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

fn filled(template: &str, values: &[(&str, String)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(name, value)
        })
}

fn filled_in(template: Value, values: &[(&str, String)]) -> Value {
    match template {
        Value::String(text) => Value::String(filled(&text, values)),
        Value::Array(items) => items
            .into_iter()
            .map(|item| filled_in(item, values))
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, filled_in(value, values)))
            .collect(),
        other => other,
    }
}
