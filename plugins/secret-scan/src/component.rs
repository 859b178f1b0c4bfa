//! The component: the contract's types on one side, this crate's on the other.

use files::Files;

use crate::{Options, SCHEMA, Settings};
use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::post_action::{self, Outcome, Task};
use gatehouse::plugin::{host, workspace};

wit_bindgen::generate!({ path: "../../wit", world: "post-execution" });

struct SecretScan;

impl about::Guest for SecretScan {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Finds credentials of well-known forms in the files of the workspace.".into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::check(&settings)
    }
}

impl post_action::Guest for SecretScan {
    fn check_options(options: String) -> Result<(), String> {
        Options::read(&options).map(|_| ())
    }

    fn run(_task: Task, _outcome: Outcome, options: String) -> Result<String, String> {
        let settings = Settings::read(&host::settings())?;
        let options = Options::read(&options)?;
        let scanned = crate::scan(&Host, &settings, &options)?;
        if let Some(first) = scanned.findings.first() {
            host::cite(first.rule);
        }
        scanned
            .into_result(&settings)
            .map(|value| value.to_string())
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

export!(SecretScan);
