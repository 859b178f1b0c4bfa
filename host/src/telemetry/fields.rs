//! The fields of spans and events, as JSON values.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

/// Longest text of one field, in bytes. Cloud Logging takes 256 KiB a record.
const LONGEST: usize = 16 << 10;

/// Name to value, in the order in which they were recorded.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Adds the fields of an inner span over those of the outer ones.
    pub(super) fn extend(&mut self, inner: &Self) {
        self.0.extend(
            inner
                .0
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }

    /// Takes out a text.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        match self.0.shift_remove(name)? {
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter()
    }

    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded::default();
        let _ = text.write_str(value);
        self.insert(field, text.0);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = Bounded::default();
        let _ = write!(text, "{value}");
        let causes = std::iter::successors(value.source(), |error| error.source());
        // A cause that points at itself must not keep us here.
        for cause in causes.take(16) {
            let _ = write!(text, ": {cause}");
        }
        self.insert(field, text.0);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded::default();
        let _ = write!(text, "{value:?}");
        self.insert(field, text.0);
    }
}

/// Text that stops growing: whoever formats into it is told to stop.
#[derive(Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = LONGEST.saturating_sub(self.0.len());
        if more.len() <= room {
            self.0.push_str(more);
            return Ok(());
        }
        self.0.push_str(
            more.get(..more.floor_char_boundary(room))
                .unwrap_or_default(),
        );
        self.0.push_str(" [cut]");
        Err(fmt::Error)
    }
}
