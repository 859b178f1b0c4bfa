//! One check of the files that it names.

use files::Files;
use serde_json::{Value, json};

use crate::junit::{self, Totals};
use crate::settings::{Check, File, Json, Junit, Kind};

/// Files of one check.
const FILES: usize = 1000;
/// Bytes of one file.
const SIZE: u64 = 16 << 20;

/// What a check found: the details, and why it does not pass where it does not.
pub(crate) struct Found {
    pub(crate) details: Value,
    pub(crate) fault: Option<String>,
}

/// Carries out a check. What cannot be read does not pass.
pub(crate) fn carry_out(files: &impl Files, check: &Check) -> Found {
    let result = match &check.kind {
        Kind::Junit(check) => junit(files, check),
        Kind::Json(check) => json_value(files, check),
        Kind::File(check) => file(files, check),
    };
    result.unwrap_or_else(|fault| Found {
        details: Value::Null,
        fault: Some(fault),
    })
}

/// What the pattern finds, of which there must be something.
fn found(files: &impl Files, pattern: &str) -> Result<Vec<String>, String> {
    let found = files::find(files, &[pattern.to_owned()])?;
    if found.is_empty() {
        return Err(format!(
            "there is no file {pattern}; the task has to write it"
        ));
    }
    if found.len() > FILES {
        return Err(format!("{pattern} names more than {FILES} files"));
    }
    Ok(found.into_keys().collect())
}

fn junit(files: &impl Files, check: &Junit) -> Result<Found, String> {
    let mut totals = Totals::default();
    for path in found(files, &check.junit)? {
        let content = files::read(files, &path, SIZE)?;
        totals.add(junit::read(&content).map_err(|error| format!("{path}: {error}"))?);
    }
    let too_many = |count: u64, most: u64, what: &str| {
        (count > most).then(|| format!("{count} {what}, at most {most} allowed"))
    };
    let fault = too_many(totals.failures, check.max_failures, "failures")
        .or_else(|| too_many(totals.errors, check.max_errors, "errors"))
        .or_else(|| {
            check
                .max_skipped
                .and_then(|most| too_many(totals.skipped, most, "skipped tests"))
        })
        .or_else(|| {
            (totals.tests < check.min_tests).then(|| {
                format!(
                    "{} tests, at least {} expected",
                    totals.tests, check.min_tests
                )
            })
        });
    let Totals {
        tests,
        failures,
        errors,
        skipped,
    } = totals;
    Ok(Found {
        details: json!({ "tests": tests, "failures": failures, "errors": errors, "skipped": skipped }),
        fault,
    })
}

fn json_value(files: &impl Files, check: &Json) -> Result<Found, String> {
    let mut shown = Value::Null;
    for path in found(files, &check.json)? {
        let content = files::read(files, &path, SIZE)?;
        let document: Value = serde_json::from_slice(&content)
            .map_err(|error| format!("{path} is no JSON: {error}"))?;
        let value = document
            .pointer(&check.pointer)
            .ok_or_else(|| format!("{path} has nothing at {}", check.pointer))?;
        shown = match value {
            Value::Number(_) | Value::Bool(_) | Value::Null => value.clone(),
            _ => Value::Null,
        };
        let number = || {
            value
                .as_f64()
                .ok_or_else(|| format!("{path} has no number at {}", check.pointer))
        };
        let fault = match (check.at_least, check.at_most) {
            (Some(least), _) if number()? < least => Some(format!(
                "{} of {path} is {value}, at least {least} expected",
                check.pointer
            )),
            (_, Some(most)) if number()? > most => Some(format!(
                "{} of {path} is {value}, at most {most} allowed",
                check.pointer
            )),
            _ => match &check.equals {
                Some(expected) if !equal(expected, value) => {
                    Some(format!("{} of {path} is not {expected}", check.pointer))
                }
                _ => None,
            },
        };
        if fault.is_some() {
            return Ok(Found {
                details: json!({ "value": shown }),
                fault,
            });
        }
    }
    Ok(Found {
        details: json!({ "value": shown }),
        fault: None,
    })
}

/// Numbers are equal by what they are, not by how they are written.
fn equal(expected: &Value, value: &Value) -> bool {
    match (expected.as_f64(), value.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < f64::EPSILON,
        _ => expected == value,
    }
}

fn file(files: &impl Files, check: &File) -> Result<Found, String> {
    if !check.exists {
        let there = files::find(files, std::slice::from_ref(&check.file))?;
        let fault = there
            .keys()
            .next()
            .map(|path| format!("{path} is there and must not be"));
        return Ok(Found {
            details: json!({ "files": there.len() }),
            fault,
        });
    }
    let there = found(files, &check.file)?;
    let mut fault = None;
    if check.contains.is_some() || check.must_not_contain.is_some() {
        for path in &there {
            let content = files::read(files, path, SIZE)?;
            let holds = |text: &String| {
                content
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
            };
            if check.contains.as_ref().is_some_and(|text| !holds(text)) {
                fault = Some(format!("{path} lacks what it must contain"));
            } else if check.must_not_contain.as_ref().is_some_and(holds) {
                fault = Some(format!("{path} contains what it must not"));
            }
            if fault.is_some() {
                break;
            }
        }
    }
    Ok(Found {
        details: json!({ "files": there.len() }),
        fault,
    })
}
