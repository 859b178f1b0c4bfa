//! The operator's own system prompts, for requests that bring none.
//!
//! Read anew at each admission: the files are small, and a change counts for the next task. What stands in
//! Secret Manager is asked for as often as `google.secrets_age` says. Their text is sealed with the request
//! like the caller's own would be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::schema::ARGUMENT;
use super::{Refusal, forms};
use crate::config::Config;
use crate::secrets::SecretText;

/// Hex digits of a text's hash by which the record tells which one was used.
const VERSION: usize = 12;

/// Where the operator's prompts stand, by the field that each fills.
#[derive(Clone, Debug)]
pub(crate) struct Places(Vec<(&'static str, Place)>);

#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Secret(Arc<SecretText>),
}

impl Places {
    pub(crate) fn of(config: &Config) -> Self {
        let place = |path: &PathBuf| match path.to_str().and_then(|text| config.secret_name(text)) {
            // 64 KiB, the largest secret, fit into an argument.
            Some(Ok(name)) => Place::Secret(Arc::new(SecretText::new(
                &config.google,
                name,
                forms::prompt,
            ))),
            _ => Place::File(path.clone()),
        };
        let task = &config.task;
        let places = [
            ("systemPrompt", &task.system_prompt_file),
            ("appendSystemPrompt", &task.append_system_prompt_file),
        ];
        let places = places.into_iter();
        Self(
            places
                .filter_map(|(field, path)| Some((field, place(path.as_ref()?))))
                .collect(),
        )
    }

    /// What is wrong with the files. Secret Manager is not asked: it may be away at a start.
    pub(crate) fn mistakes_of_files(&self) -> Vec<String> {
        let files = self.0.iter().filter_map(|(_, place)| match place {
            Place::File(path) => Some(path),
            Place::Secret(_) => None,
        });
        files.filter_map(|path| read(path).err()).collect()
    }

    /// What is wrong with any of them.
    pub(crate) async fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (_, place) in &self.0 {
            mistakes.extend(place.read().await.err());
        }
        mistakes
    }
}

impl Place {
    async fn read(&self) -> Result<String, String> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                read.unwrap_or_else(|error| Err(error.to_string()))
            }
            Self::Secret(text) => match text.read().await {
                Ok(text) => Ok(text.expose_secret().to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// What stood in the operator's places when a request was admitted, by the field that it fills.
pub(super) struct Prompts(Vec<(&'static str, String)>);

impl Prompts {
    /// Reads what `value` needs and fills it in.
    pub(super) async fn fill(
        value: &mut Map<String, Value>,
        places: &Places,
    ) -> Result<Self, Refusal> {
        let mut filled = Vec::new();
        for (field, place) in &places.0 {
            if value.contains_key(*field) {
                continue;
            }
            let text = place.read().await.map_err(|why| {
                let message =
                    "the system prompt of this service cannot be read, so no task is taken";
                Refusal::new(503, "system-prompt-unavailable", message).detail(why)
            })?;
            value.insert((*field).to_owned(), text.as_str().into());
            filled.push((*field, text));
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

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read as _;

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
