//! Cutting a stream of bytes into lines, in bounded memory.

use std::io;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::redact::Redactor;

/// Bytes of a cut line that its marker shows.
const HEAD: usize = 1024;

/// One line without its newline.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// As it came.
    Whole(Vec<u8>),
    /// In place of one that was too long:
    /// `{"type":"truncated","bytes":N,"sha256":"…","head":"…"}`, the digest being of all of it.
    Cut(Vec<u8>),
}

impl Line {
    pub(super) fn bytes(&self) -> &[u8] {
        let (Self::Whole(bytes) | Self::Cut(bytes)) = self;
        bytes
    }
}

/// Lines of a stream. Blank ones are left out; a last one without newline counts.
pub(super) struct Lines<R> {
    stream: R,
    limit: usize,
    redactor: Redactor,
}

/// A line as far as it came.
enum Partial {
    Kept(Vec<u8>),
    TooLong {
        /// Redacted.
        head: Vec<u8>,
        bytes: u64,
        digest: Sha256,
    },
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines of up to `limit` bytes; `redactor` is for what is shown of longer ones.
    pub(super) fn new(stream: R, limit: u64, redactor: Redactor) -> Self {
        Self {
            stream,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            redactor,
        }
    }

    /// The next line; none at the end. Not cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut line = Partial::Kept(vec![]);
            let more = loop {
                let available = match self.stream.fill_buf().await {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    other => other?,
                };
                let end = available.iter().position(|byte| *byte == b'\n');
                let part = available
                    .get(..end.unwrap_or(available.len()))
                    .unwrap_or_default();
                let consumed = end.map_or(available.len(), |end| end + 1);
                line = line.and(part, self.limit, &self.redactor);
                self.stream.consume(consumed);
                if end.is_some() || consumed == 0 {
                    break consumed > 0;
                }
            };
            match line.finish() {
                Some(line) => return Ok(Some(line)),
                None if more => {}
                None => return Ok(None),
            }
        }
    }
}

impl Partial {
    fn and(self, part: &[u8], limit: usize, redactor: &Redactor) -> Self {
        match self {
            Self::Kept(mut line) if line.len() + part.len() <= limit => {
                line.extend_from_slice(part);
                Self::Kept(line)
            }
            Self::Kept(line) => {
                let mut digest = Sha256::new();
                digest.update(&line);
                let bytes = line.len() as u64;
                // Of a line that is cut early less is shown, for want of what follows.
                let reach = redactor.reach();
                let head = HEAD.min(limit.saturating_sub(reach));
                let seen: Vec<u8> = line
                    .iter()
                    .chain(part)
                    .take(head + reach)
                    .copied()
                    .collect();
                Self::TooLong {
                    head: redactor.head(&seen, head),
                    bytes,
                    digest,
                }
                .and(part, limit, redactor)
            }
            Self::TooLong {
                head,
                bytes,
                mut digest,
            } => {
                digest.update(part);
                Self::TooLong {
                    head,
                    bytes: bytes + part.len() as u64,
                    digest,
                }
            }
        }
    }

    fn finish(self) -> Option<Line> {
        match self {
            Self::Kept(line) if line.trim_ascii().is_empty() => None,
            Self::Kept(line) => Some(Line::Whole(line)),
            Self::TooLong {
                head,
                bytes,
                digest,
            } => {
                let marker = json!({
                    "type": "truncated",
                    "bytes": bytes,
                    "sha256": hex::encode(digest.finalize()),
                    "head": String::from_utf8_lossy(&head),
                });
                Some(Line::Cut(marker.to_string().into_bytes()))
            }
        }
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

    use tokio::io::BufReader;

    use super::*;

    /// All lines of `input` that comes in pieces of `step` bytes.
    async fn cut(input: &[u8], step: usize, limit: u64) -> Vec<Line> {
        cut_by(Redactor::default(), input, step, limit).await
    }

    async fn cut_by(redactor: Redactor, input: &[u8], step: usize, limit: u64) -> Vec<Line> {
        let mut lines = Lines::new(BufReader::with_capacity(step, input), limit, redactor);
        let mut all = vec![];
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_are_the_same_however_the_bytes_arrive() {
        let input = "{\"a\":\"grüße €\"}\n\n  \nplain\r\n\u{2028}last".as_bytes();
        let expected: Vec<Line> = ["{\"a\":\"grüße €\"}", "plain\r", "\u{2028}last"]
            .iter()
            .map(|line| Line::Whole(line.as_bytes().to_vec()))
            .collect();
        for step in 1..=input.len() {
            assert_eq!(cut(input, step, 100).await, expected, "in pieces of {step}");
        }
    }

    #[tokio::test]
    async fn a_line_longer_than_the_limit_is_cut_and_marked() {
        let long = "x".repeat(5000);
        let input = format!("before\n{long}\nafter\n");
        for step in [1, 7, 4096, 100_000] {
            let lines = cut(input.as_bytes(), step, 4999).await;
            assert_eq!(lines[0], Line::Whole(b"before".to_vec()));
            assert_eq!(lines[2], Line::Whole(b"after".to_vec()));
            let Line::Cut(marker) = &lines[1] else {
                panic!("{:?}", lines[1])
            };
            let marker: serde_json::Value = serde_json::from_slice(marker).unwrap();
            assert_eq!(marker["type"], "truncated");
            assert_eq!(marker["bytes"], 5000);
            assert_eq!(marker["sha256"], hex::encode(Sha256::digest(&long)));
            assert_eq!(marker["head"], "x".repeat(HEAD));
        }
        assert_eq!(cut(input.as_bytes(), 64, 5000).await.len(), 3);
        assert!(
            matches!(&cut(input.as_bytes(), 64, 5000).await[1], Line::Whole(line) if line.len() == 5000)
        );
    }

    #[tokio::test]
    async fn a_secret_across_the_end_of_what_is_shown_leaves_nothing_of_itself() {
        const CANARY: &str = "canary-0123456789";
        let redactor = Redactor::new(&[CANARY.to_owned().into()]);
        for (limit, step) in [(2000, 64), (2000, 100_000), (1100, 7), (40, 100_000)] {
            for offset in 0..=HEAD + CANARY.len() {
                let input = format!("{}{CANARY}{}", ".".repeat(offset), "-".repeat(3000));
                let lines = cut_by(redactor.clone(), input.as_bytes(), step, limit).await;
                let [Line::Cut(marker)] = &lines[..] else {
                    panic!("{lines:?}")
                };
                let marker: serde_json::Value = serde_json::from_slice(marker).unwrap();
                let head = marker["head"].as_str().unwrap();
                let shown = head.trim_matches(['.', '-']);
                assert!(
                    ["", "[REDACTED]"].contains(&shown),
                    "{offset} of {limit}: {head}"
                );
            }
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_pass_unchanged_and_are_cut_without_harm() {
        let input = [b"\xff\xfe\x00".as_slice(), b"\n", &[0xc3; 100], b"\n"].concat();
        let lines = cut(&input, 3, 50).await;
        assert_eq!(lines[0], Line::Whole(b"\xff\xfe\x00".to_vec()));
        let Line::Cut(marker) = &lines[1] else {
            panic!("{:?}", lines[1])
        };
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(marker).unwrap()["bytes"],
            100
        );
    }

    #[tokio::test]
    async fn a_hundred_mebibytes_without_newline_take_no_more_memory_than_the_limit() {
        let mut line = Partial::Kept(vec![]);
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            line = line.and(&piece, 8 << 20, &Redactor::default());
            match &line {
                Partial::Kept(kept) => assert!(kept.len() <= 8 << 20),
                Partial::TooLong { head, .. } => assert_eq!(head.len(), HEAD),
            }
        }
        assert!(matches!(line, Partial::TooLong { bytes, .. } if bytes == 100 << 20));
    }
}
