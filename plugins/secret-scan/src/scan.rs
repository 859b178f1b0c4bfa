//! Through the files, piece by piece.

use files::{Files, PIECE};
use patterns::segments;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::settings::Patterns;
use crate::{Options, Settings, entropy, forms};

/// What of a piece is looked at again with the next, so that nothing lies across the cut.
const OVERLAP: usize = 8 << 10;
/// Bytes behind the header of a private key that its fingerprint covers.
const KEY_BYTES: usize = 64;
/// Files that are told as skipped, and findings in the text of an error.
const TOLD: usize = 20;

/// A credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the workspace.
    pub path: String,
    /// From 1.
    pub line: u64,
    /// Its form.
    pub rule: &'static str,
    /// The first 16 hex digits of the SHA-256 of what was found.
    pub fingerprint: String,
}

/// What was looked at and found.
#[derive(Clone, Debug, Default)]
pub struct Scanned {
    /// In the order of paths and lines.
    pub findings: Vec<Finding>,
    files: u64,
    skipped: Vec<(String, String)>,
    more: bool,
}

/// Looks through the files.
///
/// # Errors
/// They cannot be listed or read: nobody could say then that there is nothing.
pub fn scan(
    files: &impl Files,
    settings: &Settings,
    _options: &Options,
) -> Result<Scanned, String> {
    let patterns = settings.patterns()?;
    let mut scanned = Scanned::default();
    let mut total = 0_u64;
    for (path, size) in files::find(files, &settings.files)? {
        if patterns
            .exclude
            .iter()
            .any(|pattern| pattern.covers(&segments(&path)))
        {
            continue;
        }
        if size > settings.max_file_bytes {
            scanned
                .skipped
                .push((path, format!("more than {} bytes", settings.max_file_bytes)));
            continue;
        }
        total = total.saturating_add(size);
        if total > settings.max_total_bytes {
            scanned.skipped.push((
                path,
                format!("more than {} bytes in all", settings.max_total_bytes),
            ));
            continue;
        }
        file(files, settings, &patterns, &path, &mut scanned)?;
        scanned.files += 1;
    }
    Ok(scanned)
}

fn file(
    files: &impl Files,
    settings: &Settings,
    patterns: &Patterns,
    path: &str,
    scanned: &mut Scanned,
) -> Result<(), String> {
    let mut window: Vec<u8> = Vec::new();
    let (mut offset, mut line) = (0_u64, 1_u64);
    // Up to here the window was looked at before.
    let mut seen = 0;
    loop {
        let piece = files.read(path, offset, PIECE)?;
        offset = offset.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        let last = piece.is_empty();
        window.extend(piece);
        let until = match last {
            true => window.len(),
            false => window.len().saturating_sub(OVERLAP),
        };
        seen = look(
            settings, patterns, path, &window, seen, until, &mut line, scanned,
        );
        if last {
            return Ok(());
        }
        // A byte before what comes next is kept, to tell whether a word begins there.
        let dropped = until.min(seen).saturating_sub(1);
        window.drain(..dropped);
        seen -= dropped;
    }
}

/// Looks at what begins from `seen` to before `until`; returns where to go on.
#[expect(clippy::too_many_arguments, reason = "the state of one loop")]
fn look(
    settings: &Settings,
    patterns: &Patterns,
    path: &str,
    window: &[u8],
    seen: usize,
    until: usize,
    line: &mut u64,
    scanned: &mut Scanned,
) -> usize {
    let mut place = seen;
    let mut line_start = seen == 0 || window.get(seen.wrapping_sub(1)) == Some(&b'\n');
    while place < until {
        if settings.entropy && line_start && on("generic-assignment", settings) {
            let rest = window.get(place..).unwrap_or_default();
            let text = rest
                .iter()
                .take(OVERLAP)
                .position(|byte| *byte == b'\n')
                .and_then(|end| rest.get(..end))
                .unwrap_or(rest);
            let text = text.get(..text.len().min(OVERLAP)).unwrap_or_default();
            if let Some((at, length)) = entropy::assigned(text)
                && let Some(secret) = text.get(at..at + length)
                && forms::at(text, at).is_none()
            {
                note(
                    settings,
                    patterns,
                    path,
                    *line,
                    "generic-assignment",
                    secret,
                    secret,
                    scanned,
                );
            }
        }
        line_start = false;
        if let Some((rule, length)) = forms::at(window, place) {
            let secret = window.get(place..place + length).unwrap_or_default();
            let end = if rule == "private-key" {
                length + KEY_BYTES
            } else {
                length
            };
            let printed = window
                .get(place..window.len().min(place + end))
                .unwrap_or_default();
            if on(rule, settings) {
                note(
                    settings, patterns, path, *line, rule, secret, printed, scanned,
                );
            }
            place += length.max(1);
            continue;
        }
        if window.get(place) == Some(&b'\n') {
            *line += 1;
            line_start = true;
        }
        place += 1;
    }
    place
}

fn on(rule: &str, settings: &Settings) -> bool {
    !settings.off.iter().any(|off| off == rule)
}

#[expect(clippy::too_many_arguments, reason = "all that is known of a finding")]
fn note(
    settings: &Settings,
    patterns: &Patterns,
    path: &str,
    line: u64,
    rule: &'static str,
    secret: &[u8],
    printed: &[u8],
    scanned: &mut Scanned,
) {
    let text = String::from_utf8_lossy(secret);
    let fingerprint: String = Sha256::digest(printed)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let allowed = patterns.allow.iter().any(|pattern| pattern.matches(&text));
    if allowed || settings.allow_fingerprints.contains(&fingerprint) {
        return;
    }
    if scanned.findings.len() >= settings.max_findings {
        scanned.more = true;
        return;
    }
    scanned.findings.push(Finding {
        path: path.to_owned(),
        line,
        rule,
        fingerprint,
    });
}

impl Scanned {
    /// What is reported: the findings as a value, or as an error where the operator says so.
    ///
    /// # Errors
    /// There are findings, and `fail_on_finding` is set.
    pub fn into_result(self, settings: &Settings) -> Result<Value, String> {
        if settings.fail_on_finding && !self.findings.is_empty() {
            let mut told: Vec<String> = self
                .findings
                .iter()
                .take(TOLD)
                .map(|found| {
                    format!(
                        "{}:{} {} ({})",
                        found.path, found.line, found.rule, found.fingerprint
                    )
                })
                .collect();
            if self.more || self.findings.len() > TOLD {
                told.push("…".to_owned());
            }
            return Err(format!(
                "{} credentials were found: {}. Take them out and make them invalid, or allow them in the settings by their fingerprints",
                self.findings.len(),
                told.join(", ")
            ));
        }
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|found| json!({ "path": found.path, "line": found.line, "rule": found.rule, "fingerprint": found.fingerprint }))
            .collect();
        let skipped: Vec<Value> = self
            .skipped
            .iter()
            .take(TOLD)
            .map(|(path, reason)| json!({ "path": path, "reason": reason }))
            .collect();
        let mut value = json!({ "findings": findings, "files": self.files, "skipped": skipped });
        if let Some(members) = value.as_object_mut()
            && (self.more || self.skipped.len() > TOLD)
        {
            members.insert("more".to_owned(), true.into());
        }
        Ok(value)
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
