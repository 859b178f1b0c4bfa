//! What a component writes to its log, kept to be shown.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// Whose events are a component's own words, and why it trapped.
const TARGET: &str = "gatehouse::wasm";
/// Lines that are kept until they are taken; one call has at most a hundred.
const LINES: usize = 1000;

/// The lines that were written since they were last taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<Line>>>);

#[derive(Clone, Debug)]
pub(super) struct Line {
    level: Level,
    message: String,
}

impl Lines {
    /// Begins to keep them, for the whole process.
    pub(super) fn listen() -> Self {
        let lines = Self::default();
        let targets = Targets::new().with_target(TARGET, LevelFilter::TRACE);
        // Somebody who listens already would be a mistake of ours; then nothing is shown.
        let _ = Registry::default()
            .with(lines.clone().with_filter(targets))
            .try_init();
        lines
    }

    pub(super) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Line {
    pub(super) fn json(&self) -> Value {
        json!({ "level": self.level.as_str().to_lowercase(), "message": self.message })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.escape_debug().to_string();
        write!(
            formatter,
            "{:<5} {}",
            self.level,
            message.replace("\\\"", "\"")
        )
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES {
            lines.push(Line {
                level: *event.metadata().level(),
                message: words.0,
            });
        }
    }
}

#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "error" {
            let _ = write!(self.0, ": {value}");
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.0.insert_str(0, &format!("{value:?}")),
            "error" => {
                let _ = write!(self.0, ": {value:?}");
            }
            _ => {}
        }
    }
}
