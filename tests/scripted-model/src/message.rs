//! A turn as a message: whole, or as the events of a stream.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::request::{Request, tokens};
use crate::scenario::Turn;

/// Characters in one delta; small, so that clients have pieces to put together.
const PIECE: usize = 24;

/// The answer to one request.
pub(crate) struct Message {
    id: String,
    model: String,
    content: Vec<Value>,
    stop_reason: &'static str,
    usage: Value,
}

impl Message {
    pub(crate) fn new(request: &Request<'_>, turn: &Turn) -> Self {
        let mut content = Vec::new();
        if let Some(text) = &turn.text {
            let text = text.repeat(turn.repeat_text.unwrap_or(1));
            content.push(json!({"type": "text", "text": text}));
        }
        for tool in &turn.tools {
            let id = unique("toolu_scripted");
            content.push(
                json!({"type": "tool_use", "id": id, "name": tool.name, "input": tool.input}),
            );
        }
        let mut usage = json!({
            "input_tokens": request.tokens(),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": tokens(&Value::from(content.clone()).to_string()),
            "service_tier": "standard",
        });
        for (name, count) in turn.usage.iter().flatten() {
            if let Some(usage) = usage.as_object_mut() {
                usage.insert(name.clone(), count.clone());
            }
        }
        Self {
            id: unique("msg_scripted"),
            model: request.model().to_owned(),
            content,
            stop_reason: if turn.tools.is_empty() {
                "end_turn"
            } else {
                "tool_use"
            },
            usage,
        }
    }

    pub(crate) fn whole(&self) -> Value {
        self.envelope(
            self.content.clone(),
            Some(self.stop_reason),
            self.usage.clone(),
        )
    }

    /// The events in the order of the real API, each as its lines on the wire.
    pub(crate) fn events(&self) -> Vec<String> {
        let mut first_usage = self.usage.clone();
        if let Some(usage) = first_usage.as_object_mut() {
            usage.insert("output_tokens".to_owned(), json!(1));
        }
        let message = self.envelope(Vec::new(), None, first_usage);
        let mut events = vec![json!({"type": "message_start", "message": message})];
        for (index, block) in self.content.iter().enumerate() {
            let (start, deltas) = block_events(block);
            events.push(
                json!({"type": "content_block_start", "index": index, "content_block": start}),
            );
            if index == 0 {
                events.push(json!({"type": "ping"}));
            }
            let delta =
                |delta| json!({"type": "content_block_delta", "index": index, "delta": delta});
            events.extend(deltas.into_iter().map(delta));
            events.push(json!({"type": "content_block_stop", "index": index}));
        }
        let delta = json!({"stop_reason": self.stop_reason, "stop_sequence": null});
        events.push(json!({"type": "message_delta", "delta": delta, "usage": self.usage}));
        events.push(json!({"type": "message_stop"}));
        events.iter().map(wire).collect()
    }

    fn envelope(&self, content: Vec<Value>, stop_reason: Option<&str>, usage: Value) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": content, "stop_reason": stop_reason, "stop_sequence": null, "usage": usage,
        })
    }
}

/// What a block's first event holds, and its deltas.
fn block_events(block: &Value) -> (Value, Vec<Value>) {
    let mut start = block.clone();
    if let Some(input) = start.get_mut("input") {
        let json = std::mem::replace(input, json!({})).to_string();
        let delta = |piece| json!({"type": "input_json_delta", "partial_json": piece});
        // The real API begins with an empty piece.
        let pieces = std::iter::once(String::new()).chain(pieces(&json));
        return (start, pieces.map(delta).collect());
    }
    let text = block
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let delta = |piece| json!({"type": "text_delta", "text": piece});
    let deltas = pieces(text).map(delta).collect();
    (json!({"type": "text", "text": ""}), deltas)
}

fn pieces(text: &str) -> impl Iterator<Item = String> {
    // Large answers come in larger pieces, or they would take minutes.
    let size = PIECE.max(text.len() / 200);
    let characters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = characters.chunks(size).map(String::from_iter).collect();
    pieces.into_iter()
}

fn wire(event: &Value) -> String {
    let kind = event
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    format!("event: {kind}\ndata: {event}\n\n")
}

/// An id that is not given twice in one process.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}_{:06}", NEXT.fetch_add(1, Ordering::Relaxed))
}
