//! Results of tests in JUnit's XML, as many tools write it.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// What the files say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) tests: u64,
    pub(crate) failures: u64,
    pub(crate) errors: u64,
    pub(crate) skipped: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        self.tests = self.tests.saturating_add(other.tests);
        self.failures = self.failures.saturating_add(other.failures);
        self.errors = self.errors.saturating_add(other.errors);
        self.skipped = self.skipped.saturating_add(other.skipped);
    }
}

/// Reads one file. Its elements are counted; where the outermost element claims more failures or
/// errors than there are elements, the claim counts, since a suite can fail outside of its tests.
///
/// # Errors
/// It is no well-formed XML, or has no suite of tests in it.
pub(crate) fn read(content: &[u8]) -> Result<Totals, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().check_end_names = true;
    let (mut counted, mut claimed) = (Totals::default(), Totals::default());
    let mut open: Vec<String> = Vec::new();
    let mut suites = false;
    loop {
        let event = reader
            .read_event()
            .map_err(|error| format!("it is no XML: {error}"))?;
        let (start, empty) = match &event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                open.pop();
                continue;
            }
            Event::Eof if open.is_empty() => break,
            Event::Eof => return Err("it is no XML: it ends too early".into()),
            _ => continue,
        };
        let name = start.name().as_ref().to_owned();
        if open.is_empty() {
            suites = matches!(name.as_str(), "testsuites" | "testsuite");
            claimed = claims(start)?;
        }
        let in_test = open.last().is_some_and(|parent| parent == "testcase");
        match name.as_str() {
            "testcase" => counted.tests += 1,
            "failure" if in_test => counted.failures += 1,
            "error" if in_test => counted.errors += 1,
            "skipped" if in_test => counted.skipped += 1,
            _ => {}
        }
        if !empty {
            open.push(name);
        }
    }
    if !suites {
        return Err("its outermost element is neither `testsuites` nor `testsuite`".into());
    }
    Ok(Totals {
        failures: counted.failures.max(claimed.failures),
        errors: counted.errors.max(claimed.errors),
        ..counted
    })
}

fn claims(start: &BytesStart<'_>) -> Result<Totals, String> {
    let mut totals = Totals::default();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| format!("it is no XML: {error}"))?;
        let value = attribute.value.trim().parse().unwrap_or(0);
        match attribute.key.as_ref() {
            "failures" => totals.failures = value,
            "errors" => totals.errors = value,
            _ => {}
        }
    }
    Ok(totals)
}
