//! Logs: readable on a terminal, JSON with a severity elsewhere; always on stderr.
//!
//! Every record is one line whatever it contains, and bounded. The fields of the spans around an event
//! (`task`, `stage`, `plugin`, …) stand beside its own. Knows nothing of what is logged; keeping
//! secrets out is up to whoever logs.

mod fields;
mod level;
mod line;

use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{Log, LogFormat};
use fields::Fields;
use line::Line;

pub(crate) use level::{check_level, modules, target_of};

/// Logs could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` cannot be read.
    #[error("log.level: {0}")]
    Level(String),
    /// Somebody logs already.
    #[error("logs were started before")]
    Started,
}

/// Starts logging for the whole process, panics included. To be called once.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let levels = level::parse(&log.level).map_err(TelemetryError::Level)?;
    let colour = log.format == LogFormat::Text && std::io::stderr().is_terminal();
    let lines = Lines {
        format: log.format,
        colour,
        writer: std::io::stderr,
    };
    Registry::default()
        .with(lines.with_filter(levels))
        .try_init()
        .map_err(|_| TelemetryError::Started)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(
            place,
            "panicked: {}",
            panic.payload_as_str().unwrap_or("without a message")
        );
    }));
    Ok(())
}

/// Writes each event as one line.
struct Lines<W> {
    format: LogFormat,
    colour: bool,
    writer: W,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.extend(of_span);
            }
        }
        event.record(&mut fields);
        let (message, target) = (fields.take("message"), fields.take("log.target"));
        let line = Line {
            time: Timestamp::now(),
            level: *event.metadata().level(),
            target: target
                .as_deref()
                .unwrap_or_else(|| event.metadata().target()),
            message: message.as_deref().unwrap_or_default(),
            fields: &fields,
        };
        let text = match self.format {
            LogFormat::Json => line.to_json(),
            LogFormat::Text => line.to_text(self.colour),
        };
        // One call, so that lines of several threads or processes do not mix. There is nobody to tell
        // that the log cannot be written.
        let _ = self.writer.make_writer().write_all(text.as_bytes());
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

    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, levels: &str, act: impl FnOnce()) -> Vec<String> {
        let captured = Captured::default();
        let writer = captured.clone();
        let lines = Lines {
            format,
            colour: false,
            writer: move || writer.clone(),
        };
        let subscriber = Registry::default().with(lines.with_filter(level::parse(levels).unwrap()));
        tracing::subscriber::with_default(subscriber, act);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_json_record_has_the_fields_of_its_spans_and_the_names_of_cloud_logging() {
        let lines = logged(LogFormat::Json, "info", || {
            let job = tracing::info_span!("job", task = "t-1", trace = "projects/p/traces/abc");
            let _job = job.enter();
            let stage = tracing::info_span!("stage", stage = tracing::field::Empty, plugin = "git");
            stage.record("stage", "actions");
            let _stage = stage.enter();
            tracing::warn!(attempts = 3, "it went wrong");
        });
        let record: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(record["severity"], "WARNING");
        assert_eq!(record["message"], "it went wrong");
        assert_eq!(record["task"], "t-1");
        assert_eq!(record["stage"], "actions");
        assert_eq!(record["plugin"], "git");
        assert_eq!(record["attempts"], 3);
        assert_eq!(
            record["logging.googleapis.com/trace"],
            "projects/p/traces/abc"
        );
        assert_eq!(record["target"], "gatehouse::telemetry::tests");
        record["time"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .unwrap();
    }

    #[test]
    fn every_record_is_one_line_whatever_it_contains() {
        let hostile = "a\r\nb\u{1b}[2Jc\u{2028}d\u{85}e\u{202e}f\0 {\"severity\":\"ERROR\"}";
        for format in [LogFormat::Json, LogFormat::Text] {
            let lines = logged(
                format,
                "info",
                || tracing::info!(value = hostile, shown = ?hostile, "{hostile}"),
            );
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(
                !lines[0].chars().any(|character| character.is_control()),
                "{lines:?}"
            );
            assert!(!lines[0].contains(['\u{2028}', '\u{202e}']), "{lines:?}");
        }
        let lines = logged(LogFormat::Json, "info", || tracing::info!("{hostile}"));
        let record: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(record["message"], hostile);
        assert_eq!(record["severity"], "INFO");
    }

    #[test]
    fn fields_cannot_take_the_place_of_what_the_log_says_itself() {
        let lines = logged(LogFormat::Json, "info", || {
            tracing::info!(
                severity = "ERROR",
                time = "never",
                target = "elsewhere",
                "true"
            );
        });
        let record: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(record["severity"], "INFO");
        assert_ne!(record["time"], "never");
    }

    #[test]
    fn a_field_longer_than_the_bound_is_cut_and_marked() {
        let lines = logged(LogFormat::Json, "info", || {
            tracing::info!(long = "é".repeat(100_000), "x")
        });
        assert!(lines[0].len() < 20_000);
        let record: Value = serde_json::from_str(&lines[0]).unwrap();
        assert!(record["long"].as_str().unwrap().ends_with("[cut]"));
    }

    #[test]
    fn a_terminal_shows_level_module_message_and_fields() {
        let lines = logged(LogFormat::Text, "info", || {
            tracing::info!(task = "t-1", why = "two words", "started")
        });
        assert!(
            lines[0].ends_with(r#" INFO  telemetry::tests: started task=t-1 why="two words""#),
            "{lines:?}"
        );
    }

    #[test]
    fn levels_are_by_module_and_libraries_stay_at_warn() {
        let lines = logged(LogFormat::Text, "error,gatehouse::agent=debug", || {
            tracing::info!("left out");
            tracing::debug!(target: "gatehouse::agent::stream", "shown");
        });
        assert_eq!(lines.len(), 1);
        let lines = logged(LogFormat::Text, "trace", || {
            tracing::debug!(target: "hyper::proto", "left out");
            tracing::warn!(target: "hyper::proto", "shown");
        });
        assert_eq!(lines.len(), 1);
    }
}
