//! The component: the contract's types on one side, this crate's on the other.

use crate::{Entry, Failure, Files, Options, SCHEMA, Settings, Stored};
use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::post_action::{self, Outcome, Task};
use gatehouse::plugin::{artifacts, failures, host, workspace};

wit_bindgen::generate!({ path: "../../wit", world: "post-execution" });

struct UploadFiles;

impl about::Guest for UploadFiles {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Keeps files of the workspace that match the caller's patterns.".into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::read(&settings).map(|_| ())
    }
}

impl post_action::Guest for UploadFiles {
    fn check_options(options: String) -> Result<(), String> {
        Options::read(&options).map(|_| ())
    }

    fn run(_task: Task, _outcome: Outcome, options: String) -> Result<String, String> {
        let settings = Settings::read(&host::settings())?;
        let options = Options::read(&options)?;
        crate::run(&Host, &settings, &options).map(|value| value.to_string())
    }
}

struct Host;

impl Files for Host {
    fn find(&self, patterns: &[String]) -> Result<Vec<Entry>, Failure> {
        let found = workspace::find(patterns)?;
        Ok(found
            .into_iter()
            .map(|entry| Entry {
                path: entry.path,
                size: entry.size,
            })
            .collect())
    }

    fn upload(&self, path: &str, prefix: Option<&str>) -> Result<Stored, Failure> {
        let stored = artifacts::upload(path, prefix)?;
        Ok(Stored {
            uri: stored.uri,
            size: stored.size,
        })
    }
}

impl From<failures::Failure> for Failure {
    fn from(failure: failures::Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message,
        }
    }
}

export!(UploadFiles);
