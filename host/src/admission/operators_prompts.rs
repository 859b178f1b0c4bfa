//! The operator's own system prompts, for requests that bring none.
//!
//! Read anew at each admission: the files are small, and a change counts for the next task. Their text
//! is sealed with the request like the caller's own would be.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::schema::ARGUMENT;
use super::{Refusal, forms};
use crate::config::Task;

/// Hex digits of a text's hash by which the record tells which one was used.
const VERSION: usize = 12;

/// What stood in the operator's files when a request was admitted, by the field that it fills.
pub(super) struct Prompts(Vec<(&'static str, String)>);

impl Prompts {
    /// Reads what `value` needs and fills it in.
    pub(super) async fn fill(value: &mut Map<String, Value>, task: &Task) -> Result<Self, Refusal> {
        let mut filled = Vec::new();
        for (field, path) in files(task) {
            if value.contains_key(field) {
                continue;
            }
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            let text = read.unwrap_or_else(|error| Err(error.to_string()));
            let text = text.map_err(|why| {
                let message =
                    "the system prompt of this service cannot be read, so no task is taken";
                Refusal::new(503, "system-prompt-unavailable", message).detail(why)
            })?;
            value.insert(field.to_owned(), text.as_str().into());
            filled.push((field, text));
        }
        Ok(Self(filled))
    }

    /// A short name of the text in `field`, where the operator's is what stands there.
    pub(super) fn version(&self, field: &str, value: &Map<String, Value>) -> Option<String> {
        let stands = value.get(field).and_then(Value::as_str)?;
        self.0
            .iter()
            .find(|(name, text)| *name == field && text == stands)?;
        let mut version = hex::encode(Sha256::digest(stands));
        version.truncate(VERSION);
        Some(version)
    }
}

/// What is wrong with the files that are configured.
pub(crate) fn mistakes(task: &Task) -> Vec<String> {
    files(task)
        .into_iter()
        .filter_map(|(_, path)| read(&path).err())
        .collect()
}

fn files(task: &Task) -> Vec<(&'static str, PathBuf)> {
    [
        ("systemPrompt", &task.system_prompt_file),
        ("appendSystemPrompt", &task.append_system_prompt_file),
    ]
    .into_iter()
    .filter_map(|(field, path)| Some((field, path.clone()?)))
    .collect()
}

fn read(path: &Path) -> Result<String, String> {
    let wrong = |why: &str| format!("{}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|error| wrong(&error.to_string()))?;
    let mut bytes = Vec::new();
    let most = u64::try_from(ARGUMENT).unwrap_or(u64::MAX) + 1;
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(&error.to_string()))?;
    if bytes.len() > ARGUMENT {
        return Err(wrong(&format!("is longer than {ARGUMENT} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("is no UTF-8"))?;
    forms::prompt(&text).map_err(wrong)?;
    Ok(text)
}
