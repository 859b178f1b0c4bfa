//! Token counts and what they cost, read out of answers as they pass.
//!
//! Reads `message_start` and `message_delta` of a stream, or `usage` of a whole JSON answer. An
//! answer in any other form, or one of which the piece with the counts is too long, passes uncounted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};

use super::prices::{Prices, Tokens};

/// The longest line of a stream that is looked at. The events that count are far shorter.
const MAX_LINE: usize = 64 * 1024;

/// The longest whole answer that is looked at.
const MAX_WHOLE: usize = 4 * 1024 * 1024;

/// The sums of one broker. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    sums: Arc<Sums>,
    prices: Prices,
}

#[derive(Debug, Default)]
struct Sums {
    requests: AtomicU64,
    refused: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
    cache_read: AtomicU64,
    cache_creation: AtomicU64,
    /// In billionths of a dollar.
    cost: AtomicU64,
}

impl Meter {
    pub(super) fn new(prices: Prices) -> Self {
        Self {
            sums: Arc::default(),
            prices,
        }
    }

    /// What all answers have cost so far, in billionths of a dollar.
    pub(super) fn cost(&self) -> u64 {
        self.sums.cost.load(Ordering::Relaxed)
    }

    /// One more request goes to the upstream.
    pub(super) fn forwarded(&self) {
        self.sums.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// One more request was turned away.
    pub(super) fn refused(&self) {
        self.sums.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn requests(&self) -> u64 {
        self.sums.requests.load(Ordering::Relaxed)
    }

    pub(super) fn output_tokens(&self) -> u64 {
        self.sums.output.load(Ordering::Relaxed)
    }

    pub(super) fn report(&self) -> Value {
        let sums = &self.sums;
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        json!({
            "requests": read(&sums.requests),
            "inputTokens": read(&sums.input),
            "outputTokens": read(&sums.output),
            "cacheReadInputTokens": read(&sums.cache_read),
            "cacheCreationInputTokens": read(&sums.cache_creation),
            "refused": read(&sums.refused),
        })
    }

    /// Reads one answer, whose form its headers tell.
    pub(super) fn reading(&self, headers: &HeaderMap) -> Reading {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let form = match kind.and_then(|kind| kind.split(';').next()).map(str::trim) {
            _ if headers.contains_key(CONTENT_ENCODING) => Form::Opaque,
            Some("text/event-stream") => Form::Events,
            Some("application/json") => Form::Whole,
            _ => Form::Opaque,
        };
        Reading {
            meter: self.clone(),
            form,
            held: Vec::new(),
            overlong: false,
            model: String::new(),
            counted: Tokens::default(),
            charged: 0,
        }
    }
}

enum Form {
    Events,
    Whole,
    Opaque,
}

/// One answer being read. What was counted when it breaks off stays counted.
pub(super) struct Reading {
    meter: Meter,
    form: Form,
    /// The current line, or all so far of a whole answer.
    held: Vec<u8>,
    /// What should be held is longer than is looked at.
    overlong: bool,
    /// That answers, once it is told.
    model: String,
    counted: Tokens,
    /// For what was counted, in billionths of a dollar.
    charged: u64,
}

impl Reading {
    pub(super) fn observe(&mut self, data: &[u8]) {
        match self.form {
            Form::Opaque => {}
            Form::Whole => self.hold(data, MAX_WHOLE),
            Form::Events => {
                for piece in data.split_inclusive(|byte| *byte == b'\n') {
                    self.hold(piece, MAX_LINE);
                    if piece.ends_with(b"\n") {
                        self.end_of_line();
                    }
                }
            }
        }
    }

    fn hold(&mut self, data: &[u8], most: usize) {
        if self.overlong || self.held.len() + data.len() > most {
            self.overlong = true;
            self.held.clear();
        } else {
            self.held.extend_from_slice(data);
        }
    }

    fn end_of_line(&mut self) {
        let event = self
            .held
            .strip_prefix(b"data:")
            .and_then(|data| serde_json::from_slice::<Event>(data).ok());
        match event {
            Some(Event::MessageStart { message }) => self.begin(message),
            Some(Event::MessageDelta { usage }) => self.count(usage),
            Some(Event::Other) | None => {}
        }
        self.held.clear();
        self.overlong = false;
    }

    fn begin(&mut self, answer: Answer) {
        self.model = answer.model.unwrap_or_default();
        self.count(answer.usage);
    }

    /// Counts in a stream are sums so far: only what is new is added.
    fn count(&mut self, usage: Option<Usage>) {
        let Some(usage) = usage else { return };
        let (sums, counted) = (&self.meter.sums, &mut self.counted);
        let hour = usage
            .cache_creation
            .and_then(|kept| kept.ephemeral_1h_input_tokens);
        let searches = usage
            .server_tool_use
            .and_then(|used| used.web_search_requests);
        raise(&mut counted.kept_for_an_hour, hour);
        raise(&mut counted.web_searches, searches);
        for (sum, counted, seen) in [
            (&sums.input, &mut counted.input, usage.input_tokens),
            (&sums.output, &mut counted.output, usage.output_tokens),
            (
                &sums.cache_read,
                &mut counted.cache_read,
                usage.cache_read_input_tokens,
            ),
            (
                &sums.cache_creation,
                &mut counted.cache_creation,
                usage.cache_creation_input_tokens,
            ),
        ] {
            sum.fetch_add(raise(counted, seen), Ordering::Relaxed);
        }
        let cost = self.meter.prices.cost(&self.model, counted);
        sums.cost
            .fetch_add(raise(&mut self.charged, Some(cost)), Ordering::Relaxed);
    }
}

/// A body of known length is dropped when it has passed, without being asked for its end.
impl Drop for Reading {
    fn drop(&mut self) {
        if let Form::Whole = self.form
            && let Ok(answer) = serde_json::from_slice::<Answer>(&self.held)
        {
            self.begin(answer);
        }
    }
}

/// What is new in a sum so far.
fn raise(counted: &mut u64, seen: Option<u64>) -> u64 {
    let new = seen.unwrap_or(0).saturating_sub(*counted);
    *counted += new;
    new
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Answer,
    },
    MessageDelta {
        usage: Option<Usage>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Answer {
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Default, Deserialize)]
struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    server_tool_use: Option<ServerToolUse>,
}

#[derive(Deserialize)]
struct CacheCreation {
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct ServerToolUse {
    web_search_requests: Option<u64>,
}
