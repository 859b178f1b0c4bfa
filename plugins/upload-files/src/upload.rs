//! Choosing, keeping and reporting.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Options, Settings};

/// A file that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the workspace.
    pub path: String,
    /// In bytes.
    pub size: u64,
}

/// A file that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where.
    pub uri: String,
    /// In bytes.
    pub size: u64,
}

/// Why the host refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable.
    pub code: String,
    /// For people.
    pub message: String,
}

/// What the host does for this plugin.
pub trait Files {
    /// Files of the workspace that match.
    ///
    /// # Errors
    /// The host refused.
    fn find(&self, patterns: &[String]) -> Result<Vec<Entry>, Failure>;

    /// Keeps one file.
    ///
    /// # Errors
    /// The host refused.
    fn upload(&self, path: &str, prefix: Option<&str>) -> Result<Stored, Failure>;
}

/// Keeps the files; the value is `{"uploaded": [{path, uri, size}], "skipped": [{path, reason}]}` with
/// a `note` where nothing was done.
///
/// # Errors
/// The files could not be listed.
pub fn run(files: &impl Files, settings: &Settings, options: &Options) -> Result<Value, String> {
    let found = files
        .find(&options.patterns)
        .map_err(|failure| format!("globPatterns: {} ({})", failure.message, failure.code))?;
    // By path: each file once, in an order that does not change from run to run.
    let found: BTreeMap<String, u64> = found
        .into_iter()
        .map(|entry| (entry.path, entry.size))
        .collect();
    if found.is_empty() {
        return Ok(
            json!({ "uploaded": [], "skipped": [], "note": "no file matches globPatterns" }),
        );
    }

    let (mut uploaded, mut skipped) = (Vec::new(), Vec::new());
    let mut total = 0_u64;
    for (path, size) in found {
        let kept = if uploaded.len() >= settings.max_files {
            Err(format!("more than {} files", settings.max_files))
        } else if total.saturating_add(size) > settings.max_total_bytes {
            Err(format!(
                "more than {} bytes in all",
                settings.max_total_bytes
            ))
        } else {
            files
                .upload(&path, options.prefix.as_deref())
                .map_err(|failure| format!("{} ({})", failure.message, failure.code))
        };
        match kept {
            Ok(stored) => {
                total = total.saturating_add(stored.size);
                uploaded.push(json!({ "path": path, "uri": stored.uri, "size": stored.size }));
            }
            Err(reason) => skipped.push(json!({ "path": path, "reason": reason })),
        }
    }
    Ok(json!({ "uploaded": uploaded, "skipped": skipped }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `find` gives for any patterns; a file whose name starts with `bad` cannot be kept.
    struct Fixed(Vec<Entry>);

    impl Files for Fixed {
        fn find(&self, _patterns: &[String]) -> Result<Vec<Entry>, Failure> {
            if self.0.iter().any(|entry| entry.path == "unreadable") {
                return Err(Failure {
                    code: "io".into(),
                    message: "the workspace is gone".into(),
                });
            }
            Ok(self.0.clone())
        }

        fn upload(&self, path: &str, prefix: Option<&str>) -> Result<Stored, Failure> {
            let size = self
                .0
                .iter()
                .find(|entry| entry.path == path)
                .map_or(0, |entry| entry.size);
            if path.starts_with("bad") {
                return Err(Failure {
                    code: "changed".into(),
                    message: "the file changed".into(),
                });
            }
            let prefix = prefix
                .map(|prefix| format!("{prefix}/"))
                .unwrap_or_default();
            Ok(Stored {
                uri: format!("file:///{prefix}{path}"),
                size,
            })
        }
    }

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 15, |case| {
            let settings = match Settings::read(&case.read("settings")?.to_string()) {
                Ok(settings) => settings,
                Err(error) => return Ok(json!({ "settingsError": error })),
            };
            let options = match Options::read(&case.read("options")?.to_string()) {
                Ok(options) => options,
                Err(error) => return Ok(json!({ "optionsError": error })),
            };
            let task = case.read("task")?;
            let files = task
                .get("files")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let files = files.filter_map(|file| {
                let pair = file.as_array()?;
                let path = pair.first()?.as_str()?.to_owned();
                Some(Entry {
                    path,
                    size: pair.last()?.as_u64()?,
                })
            });
            match run(&Fixed(files.collect()), &settings, &options) {
                Ok(value) => Ok(value),
                Err(error) => Ok(json!({ "error": error })),
            }
        });
        assert_eq!(result, Ok(()));
    }
}
