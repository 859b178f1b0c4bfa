//! All checks together.

use files::Files;
use serde_json::{Value, json};

use crate::{Options, Settings, check};

/// Faults that are told in words; the others are counted.
const TOLD: usize = 5;

/// Not every check passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The first one.
    pub cited: String,
    /// All of them, for the caller.
    pub message: String,
}

/// Carries out the operator's checks, then the caller's. The value is
/// `{"passed": true, "checks": [{name, …}]}`.
///
/// # Errors
/// A check did not pass, or there is none.
pub fn run(files: &impl Files, settings: &Settings, options: &Options) -> Result<Value, Failed> {
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for one in settings.checks.iter().chain(&options.checks) {
        let found = check::carry_out(files, one);
        match found.fault {
            Some(fault) => failed.push((one.name.clone(), fault)),
            None => passed.push(json!({ "name": one.name, "found": found.details })),
        }
    }
    let Some((first, _)) = failed.first() else {
        if passed.is_empty() {
            return Err(Failed {
                cited: "checks".into(),
                message: "there is nothing to check: name checks in the settings or in the options"
                    .into(),
            });
        }
        return Ok(json!({ "passed": true, "checks": passed }));
    };
    let told: Vec<String> = failed
        .iter()
        .take(TOLD)
        .map(|(name, fault)| format!("{name}: {fault}"))
        .collect();
    let mut message = format!(
        "{} of {} checks failed: {}",
        failed.len(),
        failed.len() + passed.len(),
        told.join("; ")
    );
    if failed.len() > TOLD {
        message.push_str("; …");
    }
    Err(Failed {
        cited: first.clone(),
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::Directory;

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 15, |case| {
            let settings = case.read("settings")?.to_string();
            let settings = match Settings::read(&settings) {
                Ok(settings) => settings,
                Err(error) => return Ok(json!({ "settingsError": error })),
            };
            let options = match Options::read(&case.read("options")?.to_string()) {
                Ok(options) => options,
                Err(error) => return Ok(json!({ "optionsError": error })),
            };
            let workspace = Directory(case.path("workspace"));
            Ok(match run(&workspace, &settings, &options) {
                Ok(value) => json!({ "value": value }),
                Err(Failed { cited, message }) => json!({ "error": message, "cited": cited }),
            })
        });
        assert_eq!(result, Ok(()));
    }
}
