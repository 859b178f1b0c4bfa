//! The component: the contract's types on one side, this crate's on the other.

use files::Files;

use crate::{Options, SCHEMA, Settings};
use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::post_action::{self, Outcome, Task};
use gatehouse::plugin::{host, workspace};

wit_bindgen::generate!({ path: "../../wit", world: "post-execution" });

struct QualityGate;

impl about::Guest for QualityGate {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Fails where results of tests, values or files that the task left say so."
                .into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::read(&settings).map(|_| ())
    }
}

impl post_action::Guest for QualityGate {
    fn check_options(options: String) -> Result<(), String> {
        Options::read(&options).map(|_| ())
    }

    fn run(_task: Task, _outcome: Outcome, options: String) -> Result<String, String> {
        let settings = Settings::read(&host::settings())?;
        let options = Options::read(&options)?;
        crate::run(&Host, &settings, &options)
            .map(|value| value.to_string())
            .map_err(|failed| {
                host::cite(&failed.cited);
                failed.message
            })
    }
}

struct Host;

impl Files for Host {
    fn find(&self, patterns: &[String]) -> Result<Vec<(String, u64)>, String> {
        let found = workspace::find(patterns);
        let found = found.map_err(|failure| format!("{} ({})", failure.message, failure.code))?;
        Ok(found
            .into_iter()
            .map(|entry| (entry.path, entry.size))
            .collect())
    }

    fn read(&self, path: &str, offset: u64, length: u32) -> Result<Vec<u8>, String> {
        workspace::read(path, offset, length)
            .map_err(|failure| format!("{} ({})", failure.message, failure.code))
    }
}

export!(QualityGate);
