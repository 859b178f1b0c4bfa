//! What a guest writes: log lines, stdout and stderr, all within one bound per call.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::redact::Redactor;

/// Lines of one call; the last one says that more were dropped.
const LINES: u32 = 100;
/// Bytes of one line.
const LINE: usize = 2048;

/// Who writes, for the log.
#[derive(Debug)]
struct Author {
    plugin: Arc<str>,
    task: Option<String>,
    redactor: Redactor,
}

/// The log of one call.
#[derive(Clone, Debug)]
pub(super) struct GuestLog {
    author: Arc<Author>,
    left: Arc<Mutex<u32>>,
}

impl GuestLog {
    pub(super) fn new(plugin: Arc<str>, task: Option<String>, redactor: Redactor) -> Self {
        Self {
            author: Arc::new(Author {
                plugin,
                task,
                redactor,
            }),
            left: Arc::new(Mutex::new(LINES)),
        }
    }

    /// Logs one message, redacted and cut at the bound; none once the call has used its lines.
    pub(super) fn write(&self, level: Level, message: &str) {
        match self.place() {
            Place::Free => self.emit(level, &self.author.redactor.words(message, LINE)),
            Place::Last => self.emit(Level::WARN, "further lines of this call are dropped"),
            Place::None => {}
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) == LINES
    }

    fn place(&self) -> Place {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match *left {
            0 => Place::None,
            1 => {
                *left = 0;
                Place::Last
            }
            _ => {
                *left -= 1;
                Place::Free
            }
        }
    }

    fn emit(&self, level: Level, message: &str) {
        let plugin = &*self.author.plugin;
        let task = self.author.task.as_deref();
        // tracing wants its level as a constant.
        match level {
            Level::ERROR => tracing::error!(plugin, task, "{message}"),
            Level::WARN => tracing::warn!(plugin, task, "{message}"),
            Level::INFO => tracing::info!(plugin, task, "{message}"),
            Level::DEBUG => tracing::debug!(plugin, task, "{message}"),
            _ => tracing::trace!(plugin, task, "{message}"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Free,
    Last,
    None,
}

/// The longest beginning of `text` of at most `limit` bytes that ends between two characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// A guest's stdout or stderr, line by line into the log.
#[derive(Clone)]
pub(super) struct GuestStream {
    log: GuestLog,
    level: Level,
    pending: Arc<Mutex<Vec<u8>>>,
}

impl GuestStream {
    pub(super) fn new(log: GuestLog, level: Level) -> Self {
        Self {
            log,
            level,
            pending: Arc::default(),
        }
    }

    fn take(&self, bytes: &[u8]) {
        // So much more than a line that a secret across its end is seen whole.
        let most = LINE + self.log.author.redactor.reach();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ended) = match line.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (line, false),
            };
            let room = most.saturating_sub(pending.len());
            pending.extend(text.iter().take(room));
            if ended {
                let line = std::mem::take(&mut *pending);
                self.log.write(self.level, &String::from_utf8_lossy(&line));
            }
        }
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        // The last holder writes what had no newline, e.g. the end of a panic's message.
        if let Some(pending) = Arc::get_mut(&mut self.pending) {
            let rest = std::mem::take(pending.get_mut().unwrap_or_else(PoisonError::into_inner));
            if !rest.is_empty() {
                self.log.write(self.level, &String::from_utf8_lossy(&rest));
            }
        }
    }
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this form, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> GuestLog {
        GuestLog::new("p".into(), None, Redactor::default())
    }

    #[test]
    fn a_call_has_a_bounded_number_of_log_lines() {
        let log = log();
        for _ in 1..LINES {
            assert_eq!(log.place(), Place::Free);
        }
        assert_eq!(log.place(), Place::Last);
        assert_eq!(log.place(), Place::None);
    }

    #[test]
    fn a_line_is_cut_between_two_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("a", 9), "a");
    }

    #[test]
    fn what_is_kept_of_a_stream_shows_a_secret_across_the_end_of_a_line_whole() {
        let secret = "canary-of-a-guest-that-prints";
        let redactor = Redactor::new(&[secret.to_owned().into()]);
        let log = GuestLog::new("p".into(), None, redactor.clone());
        let stream = GuestStream::new(log, Level::DEBUG);
        stream.take("x".repeat(LINE - 8).as_bytes());
        stream.take(secret.repeat(3).as_bytes());
        let pending = stream.pending.lock().map(|pending| pending.clone());
        let pending = String::from_utf8(pending.unwrap_or_default()).unwrap_or_default();
        let line = redactor.words(&pending, LINE);
        assert_eq!(line, "x".repeat(LINE - 8) + "[REDACTE");
    }

    #[test]
    fn a_stream_without_newlines_does_not_grow() {
        let stream = GuestStream::new(log(), Level::DEBUG);
        for _ in 0..100 {
            stream.take(&[b'x'; 1000]);
        }
        assert_eq!(
            stream
                .pending
                .lock()
                .map(|pending| pending.len())
                .unwrap_or(0),
            LINE
        );
        stream.take(b"end\nnext");
        assert_eq!(
            stream
                .pending
                .lock()
                .map(|pending| pending.clone())
                .unwrap_or_default(),
            b"next"
        );
    }
}
