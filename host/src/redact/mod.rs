//! Known secret values, out of every byte that leaves.
//!
//! Protects against accidents: a secret printed plain, JSON-escaped, percent-encoded or in base64,
//! whole or, where it has several lines, line by line ([`forms`]). Does not protect against an agent
//! that encodes on purpose. Relies on nothing.

mod forms;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use secrecy::{ExposeSecret, SecretString};
use serde::de::IgnoredAny;
use serde_json::Value;

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[REDACTED]";
/// What stands in the place of a line that would be broken without its secret.
const REDACTED_LINE: &[u8] = br#"{"type":"redacted_line"}"#;

/// Finds the values it was made with and puts `[REDACTED]` in their place.
#[derive(Clone, Default)]
pub struct Redactor {
    finder: Finder,
}

#[derive(Clone, Default)]
enum Finder {
    /// Nothing is secret.
    #[default]
    Nothing,
    /// These forms are.
    Forms(Arc<AhoCorasick>),
    /// There are more of them than can be searched for, so anything may be one.
    Everything,
}

impl Redactor {
    /// Knows each value of six characters or more, in every form named above. Values that are plain
    /// words of configuration (`default`, `production`, …) are left out: they would shred the log.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let mut all = BTreeSet::new();
        for secret in secrets {
            forms::add(secret.expose_secret(), &mut all);
        }
        if all.is_empty() {
            return Self::default();
        }
        let finder = match AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&all)
        {
            Ok(found) => Finder::Forms(Arc::new(found)),
            Err(error) => {
                tracing::error!(%error, forms = all.len(), "too many secrets to look for: all output is withheld");
                Finder::Everything
            }
        };
        Self { finder }
    }

    /// One line of JSON or text. A JSON line that is none any more afterwards becomes
    /// `{"type":"redacted_line"}`. Allocates only where something is found.
    pub fn line<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        if matches!(self.finder, Finder::Everything) {
            return Cow::Borrowed(REDACTED_LINE);
        }
        let redacted = self.bytes(line);
        if matches!(redacted, Cow::Owned(_)) && is_json(line) && !is_json(&redacted) {
            return Cow::Borrowed(REDACTED_LINE);
        }
        redacted
    }

    /// Any bytes, whatever they mean. Allocates only where something is found.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let forms = match &self.finder {
            Finder::Nothing => return Cow::Borrowed(bytes),
            Finder::Forms(forms) => forms,
            Finder::Everything => return Cow::Borrowed(REDACTED.as_bytes()),
        };
        if !forms.is_match(bytes) {
            return Cow::Borrowed(bytes);
        }
        let mut redacted = Vec::with_capacity(bytes.len());
        forms.replace_all_with_bytes(bytes, &mut redacted, |_, _, out| {
            out.extend_from_slice(REDACTED.as_bytes());
            true
        });
        Cow::Owned(redacted)
    }

    /// Puts asterisks in place of what is found: as many as it had bytes.
    pub fn mask(&self, bytes: &mut [u8]) {
        match &self.finder {
            Finder::Nothing => {}
            Finder::Forms(forms) => {
                let found: Vec<_> = forms
                    .find_iter(&*bytes)
                    .map(|found| found.range())
                    .collect();
                for range in found {
                    if let Some(secret) = bytes.get_mut(range) {
                        secret.fill(b'*');
                    }
                }
            }
            Finder::Everything => bytes.fill(b'*'),
        }
    }

    /// Whether there is anything to be taken out.
    pub fn finds(&self, text: &[u8]) -> bool {
        match &self.finder {
            Finder::Nothing => false,
            Finder::Forms(forms) => forms.is_match(text),
            Finder::Everything => true,
        }
    }

    /// A JSON value; one that cannot be kept whole without its secret becomes a sentence that says so.
    pub fn json(&self, value: &Value) -> Value {
        let text = value.to_string();
        match self.line(text.as_bytes()) {
            Cow::Borrowed(same) if same == text.as_bytes() => value.clone(),
            redacted => serde_json::from_slice(&redacted).unwrap_or_else(|_| REDACTED.into()),
        }
    }

    /// Bytes of the longest form that is looked for: so much further than a cut one has to see.
    pub fn reach(&self) -> usize {
        match &self.finder {
            Finder::Nothing | Finder::Everything => 0,
            Finder::Forms(forms) => forms.max_pattern_len(),
        }
    }

    /// The first `most` bytes of a text, and nothing of a secret that lies across the cut: it is left
    /// out as a whole. The text is given whole, or [`Redactor::reach`] bytes more of it than `most`.
    pub fn head(&self, text: &[u8], most: usize) -> Vec<u8> {
        self.part(text, 0, most.min(text.len()))
    }

    /// The last `most` bytes, likewise.
    pub fn tail(&self, text: &[u8], most: usize) -> Vec<u8> {
        self.part(text, text.len().saturating_sub(most), text.len())
    }

    /// [`Redactor::head`] of what somebody said, as text of `most` bytes at most.
    pub fn words(&self, text: &str, most: usize) -> String {
        let head = self.head(text.as_bytes(), text.floor_char_boundary(most));
        let mut words = String::from_utf8_lossy(&head).into_owned();
        words.truncate(words.floor_char_boundary(most));
        words
    }

    /// What of `text` lies from `from` to `to`; a secret is shown as such where it begins.
    fn part(&self, text: &[u8], from: usize, to: usize) -> Vec<u8> {
        let mut part = Vec::new();
        let forms = match &self.finder {
            Finder::Nothing => return text.get(from..to).unwrap_or_default().to_vec(),
            Finder::Forms(forms) => forms,
            Finder::Everything => return REDACTED.as_bytes().to_vec(),
        };
        let mut at = from;
        let found = forms
            .find_iter(text)
            .skip_while(|found| found.end() <= from)
            .take_while(|found| found.start() < to);
        for secret in found {
            part.extend(text.get(at..secret.start()).unwrap_or_default());
            part.extend(REDACTED.as_bytes());
            at = secret.end();
        }
        part.extend(text.get(at..to).unwrap_or_default());
        part
    }

    /// A sentence, e.g. of an error.
    pub fn text(&self, text: &str) -> String {
        match &self.finder {
            Finder::Nothing => text.to_owned(),
            Finder::Forms(forms) => {
                let mut redacted = String::with_capacity(text.len());
                forms.replace_all_with(text, &mut redacted, |_, _, out| {
                    out.push_str(REDACTED);
                    true
                });
                redacted
            }
            Finder::Everything => REDACTED.to_owned(),
        }
    }
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Redactor")
    }
}

#[cfg(test)]
mod tests;
