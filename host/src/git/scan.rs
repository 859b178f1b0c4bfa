//! Secrets in what is about to leave: values that the task knows, and keys by their usual forms.
//!
//! Looks at what commits add, their messages and the names of files included, as git prints them.
//! Finds accidents, not an agent that encodes.

use std::sync::LazyLock;

use regex::bytes::RegexSet;

use super::run::Take;
use crate::redact::Redactor;

/// Forms of keys, and what to call them. Only forms that say what they are: a text that might be one is
/// no reason to stop a push.
const FORMS: [(&str, &str); 14] = [
    ("an AWS access key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("a GitHub token", r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    (
        "a GitHub token",
        r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b",
    ),
    ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("an Anthropic key", r"\bsk-ant-[A-Za-z0-9_-]{32,}"),
    (
        "an OpenAI key",
        r"\bsk-(?:proj-|svcacct-)[A-Za-z0-9_-]{40,}",
    ),
    ("a Slack token", r"\bxox[abeprs]-[A-Za-z0-9-]{20,}"),
    (
        "a Slack webhook",
        r"hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{20,}",
    ),
    ("a Google API key", r"\bAIza[A-Za-z0-9_-]{35}\b"),
    ("a Stripe key", r"\b[rs]k_live_[A-Za-z0-9]{20,}\b"),
    ("an npm token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("a PyPI token", r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"),
    (
        "a SendGrid key",
        r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b",
    ),
    ("a private key", r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
];

static KEYS: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| RegexSet::new(FORMS.iter().map(|(_, form)| *form)).ok());

/// Longest piece of a line that is looked at as one; the next begins before its end, so that nothing
/// lies across the cut.
const WINDOW: usize = 1 << 20;
const OVERLAP: usize = 32 << 10;

/// Knows what must not leave.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    known: Redactor,
}

/// Something that must not leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What it is; never the thing itself.
    pub(super) what: &'static str,
    /// The file that has it; none in a commit's message.
    pub(super) file: Option<String>,
}

impl Scanner {
    pub(super) fn new(known: Redactor) -> Self {
        Self { known }
    }

    fn look(&self, text: &[u8]) -> Option<&'static str> {
        if self.known.finds(text) {
            return Some("a secret of the task");
        }
        // Without the forms nothing could be told clean.
        let Some(keys) = KEYS.as_ref() else {
            return Some("something that could not be looked at");
        };
        let first = keys.matches(text).into_iter().next()?;
        FORMS.get(first).map(|(what, _)| *what)
    }
}

/// Reads patches as `git log -p` prints them.
#[derive(Debug)]
pub(super) struct Patches<'a> {
    scanner: &'a Scanner,
    line: Vec<u8>,
    /// The beginning of the line was looked at already.
    continued: bool,
    file: Option<String>,
    pub(super) found: Option<Finding>,
}

impl<'a> Patches<'a> {
    pub(super) fn new(scanner: &'a Scanner) -> Self {
        Self {
            scanner,
            line: Vec::new(),
            continued: false,
            file: None,
            found: None,
        }
    }

    /// The last line, which may have no end.
    pub(super) fn finish(mut self) -> Option<Finding> {
        self.end_line();
        self.found
    }

    fn push(&mut self, mut piece: &[u8]) {
        while let Some(at) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = piece.split_at(at);
            self.line.extend_from_slice(line);
            self.end_line();
            piece = rest.get(1..).unwrap_or_default();
        }
        self.line.extend_from_slice(piece);
        if self.line.len() >= WINDOW {
            self.judge();
            let keep_from = self.line.len().saturating_sub(OVERLAP);
            self.line.drain(..keep_from);
            self.continued = true;
        }
    }

    fn end_line(&mut self) {
        if !self.continued {
            match self.line.as_slice() {
                line if line.starts_with(b"commit ") => self.file = None,
                [b'+', b'+', b'+', b' ', name @ ..] => {
                    let name = String::from_utf8_lossy(name);
                    let name = name.trim_end().trim_matches('"');
                    self.file = Some(name.strip_prefix("b/").unwrap_or(name).to_owned());
                }
                _ => {}
            }
        }
        self.judge();
        self.line.clear();
        self.continued = false;
    }

    /// What is taken away was there before; everything else is new or names something.
    fn judge(&mut self) {
        let removed = !self.continued && self.line.first() == Some(&b'-');
        if self.found.is_some() || (removed && !self.line.starts_with(b"-----BEGIN")) {
            return;
        }
        if let Some(what) = self.scanner.look(&self.line) {
            self.found = Some(Finding {
                what,
                file: self.file.clone(),
            });
        }
    }
}

/// Reads a file as it is.
#[derive(Debug)]
pub(super) struct Content<'a> {
    scanner: &'a Scanner,
    window: Vec<u8>,
    found: Option<&'static str>,
}

impl<'a> Content<'a> {
    pub(super) fn new(scanner: &'a Scanner) -> Self {
        Self {
            scanner,
            window: Vec::new(),
            found: None,
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        self.window.extend_from_slice(piece);
        if self.window.len() >= WINDOW {
            self.judge();
            let keep_from = self.window.len().saturating_sub(OVERLAP);
            self.window.drain(..keep_from);
        }
    }

    /// What it holds, if anything.
    pub(super) fn finish(mut self) -> Option<&'static str> {
        self.judge();
        self.found
    }

    fn judge(&mut self) {
        if self.found.is_none() {
            self.found = self.scanner.look(&self.window);
        }
    }
}

impl Take for Patches<'_> {
    async fn take(&mut self, piece: &[u8]) -> std::io::Result<bool> {
        self.push(piece);
        Ok(true)
    }

    fn most(&self) -> u64 {
        u64::MAX
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use secrecy::SecretString;

    use super::*;

    fn find(patch: &str, piece: usize) -> Option<(&'static str, Option<String>)> {
        let secret = SecretString::from("correct-horse-battery");
        let scanner = Scanner::new(Redactor::new([&secret]));
        let mut patches = Patches::new(&scanner);
        for piece in patch.as_bytes().chunks(piece) {
            patches.push(piece);
        }
        patches.finish().map(|found| (found.what, found.file))
    }

    fn patch(line: &str) -> String {
        format!(
            "commit 1\n\n    message\n\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n{line}\n"
        )
    }

    #[test]
    fn what_is_added_is_looked_through_in_any_pieces() {
        let added = patch("+TOKEN=correct-horse-battery");
        for piece in [1, 7, 4096] {
            assert_eq!(
                find(&added, piece),
                Some(("a secret of the task", Some("x".to_owned())))
            );
        }
        assert_eq!(find(&patch("-TOKEN=correct-horse-battery"), 64), None);
        assert_eq!(find(&patch("+nothing"), 64), None);
    }

    #[test]
    fn messages_and_names_of_files_are_looked_through() {
        let message = "commit 1\n\n    my correct-horse-battery\n";
        assert_eq!(find(message, 64), Some(("a secret of the task", None)));
        let name =
            "commit 1\n\ndiff --git a/correct-horse-battery b/correct-horse-battery\nnew file\n";
        assert!(find(name, 64).is_some());
    }

    #[test]
    fn keys_are_known_by_their_form() {
        for (what, key) in [
            ("an AWS access key", "AKIAIOSFODNN7EXAMPLE".to_owned()),
            ("a GitHub token", format!("ghp_{}", "a".repeat(36))),
            ("a GitLab token", "glpat-abcdefghijklmnopqrst".to_owned()),
            (
                "an Anthropic key",
                format!("sk-ant-api03-{}", "x".repeat(40)),
            ),
            (
                "a private key",
                "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(),
            ),
        ] {
            assert_eq!(
                find(&patch(&format!("+k = \"{key}\"")), 64).unwrap().0,
                what
            );
        }
        for harmless in [
            "sk-ant-",
            "AKIA",
            "ghp_short",
            "BEGIN PRIVATE KEY",
            "npm_config_registry",
        ] {
            assert_eq!(
                find(&patch(&format!("+{harmless}")), 64),
                None,
                "{harmless}"
            );
        }
    }

    #[test]
    fn a_secret_in_a_line_without_end_is_found_across_the_windows() {
        for before in [WINDOW - 10, WINDOW - 1, WINDOW + 5, 2 * WINDOW] {
            let line = format!(
                "+{}correct-horse-battery{}",
                "x".repeat(before),
                "y".repeat(WINDOW)
            );
            assert!(find(&patch(&line), 64 << 10).is_some(), "{before}");
            let secret = SecretString::from("correct-horse-battery");
            let scanner = Scanner::new(Redactor::new([&secret]));
            let mut content = Content::new(&scanner);
            line.as_bytes()
                .chunks(64 << 10)
                .for_each(|piece| content.push(piece));
            assert_eq!(content.finish(), Some("a secret of the task"), "{before}");
        }
    }
}
