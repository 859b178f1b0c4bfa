//! The message, and what its receiver says.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Settings;
use crate::template::{Part, Place};

/// Characters of one value.
const VALUE: usize = 500;
/// Characters of a message.
const TEXT: usize = 4000;

/// What is known of a task's end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the contract documents them")]
pub struct Facts {
    pub task_id: String,
    pub caller: String,
    pub status: String,
    pub reason: Option<String>,
    pub turns: u32,
    pub cost_usd: Option<f64>,
    pub result: Option<String>,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// With a mark in place of a secret.
    pub headers: Vec<(String, String)>,
    /// JSON.
    pub body: String,
}

/// Fills in the template. `result_of` gives what an action returned, by its name, as JSON.
///
/// # Errors
/// The template cannot be read.
pub fn message(
    settings: &Settings,
    facts: &Facts,
    result_of: impl Fn(&str) -> Option<String>,
) -> Result<Message, String> {
    let mut text = String::new();
    for part in settings.template()?.0 {
        match part {
            Part::Text(plain) => text.push_str(&plain),
            Part::Place(place) => {
                text.push_str(&escaped(&cut(&value(&place, facts, &result_of), VALUE)))
            }
        }
    }
    let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    if let Some(name) = &settings.secret {
        headers.push((
            "Authorization".to_owned(),
            format!("Bearer [secret:{name}]"),
        ));
    }
    Ok(Message {
        headers,
        body: json!({ "text": cut(text.trim_end(), TEXT) }).to_string(),
    })
}

fn value(place: &Place, facts: &Facts, result_of: impl Fn(&str) -> Option<String>) -> String {
    match place {
        Place::TaskId => facts.task_id.clone(),
        Place::Caller => facts.caller.clone(),
        Place::Status => facts.status.clone(),
        Place::Reason => facts.reason.clone().unwrap_or_default(),
        Place::Turns => facts.turns.to_string(),
        Place::Cost => facts
            .cost_usd
            .map(|cost| format!("${cost:.2}"))
            .unwrap_or_default(),
        Place::Result => facts.result.clone().unwrap_or_default(),
        Place::ResultOf(action, pointer) => {
            let result: Option<Value> =
                result_of(action).and_then(|text| serde_json::from_str(&text).ok());
            match result.as_ref().and_then(|value| value.pointer(pointer)) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::new(),
            }
        }
    }
}

/// At a character's end, and told by an ellipsis.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// As Slack wants it: a value cannot mention everybody or look like a link to somewhere else.
fn escaped(value: &str) -> String {
    value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// What the receiver's answer means.
///
/// # Errors
/// It is none of success.
pub fn answered(status: u16) -> Result<Value, String> {
    match status {
        200..=299 => Ok(json!({ "sent": true, "status": status })),
        _ => Err(format!("the webhook answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 10, |case| {
            let settings = case.read("settings")?.to_string();
            if let Err(error) = Settings::check(&settings) {
                return Ok(json!({ "settingsError": error }));
            }
            let settings = Settings::read(&settings)?;
            let facts: Facts =
                serde_json::from_value(case.read("outcome")?).map_err(|error| error.to_string())?;
            let results = case.read("results")?;
            let message = message(&settings, &facts, |action| {
                results.get(action).map(ToString::to_string)
            })?;
            let body: Value =
                serde_json::from_str(&message.body).map_err(|error| error.to_string())?;
            let status = case.read("answer")?["status"].as_u64().unwrap_or(200);
            let answer = answered(u16::try_from(status).unwrap());
            Ok(json!({
                "text": body["text"], "characters": body["text"].as_str().map(|text| text.chars().count()),
                "headers": message.headers, "value": answer.as_ref().ok(), "error": answer.err(),
            }))
        });
        assert_eq!(result, Ok(()));
    }
}
