//! `gatehouse config`: every setting in force, and where it came from.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::EXIT_USAGE;
use crate::config::{Setting, Sources, settings};

/// Prints the settings to stdout, as `key = value  # origin` or as a JSON object by key; exits with 64
/// and all mistakes on stderr where there are any. Secrets read `[set]` or `[not set]`.
pub(super) fn run(sources: &Sources, as_json: bool) -> ExitCode {
    match settings(sources) {
        Ok(settings) => {
            let text = if as_json {
                to_json(&settings)
            } else {
                to_text(&settings)
            };
            // Whoever closes the pipe has seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            let _ = writeln!(std::io::stderr(), "{mistakes}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn to_text(settings: &[Setting]) -> String {
    let assignments: Vec<_> = settings
        .iter()
        .map(|Setting { key, value, .. }| format!("{key} = {}", one_line(value)))
        .collect();
    let width = assignments
        .iter()
        .map(|text| text.chars().count())
        .filter(|width| *width <= 60)
        .max()
        .unwrap_or(0);
    let lines = assignments.iter().zip(settings);
    lines
        .map(|(assignment, setting)| format!("{assignment:width$}  # {}\n", setting.origin))
        .collect()
}

/// JSON writes text, numbers and lists the way TOML does, and never over several lines.
fn one_line(value: &toml::Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| value.to_string())
}

fn to_json(settings: &[Setting]) -> String {
    let entry = |Setting { key, value, origin }: &Setting| {
        (
            key.clone(),
            json!({ "value": value, "origin": origin.to_string() }),
        )
    };
    let object: serde_json::Map<_, _> = settings.iter().map(entry).collect();
    format!("{:#}\n", serde_json::Value::Object(object))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    fn example() -> Vec<Setting> {
        let environment = [("PORT", "9000"), ("GATEHOUSE_ADMIN_KEY", "s3cr3t-s3cr3t")];
        let environment = environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        settings(&Sources {
            environment,
            ..Sources::default()
        })
        .unwrap()
    }

    #[test]
    fn every_setting_stands_on_a_line_with_its_origin_and_no_secret() {
        let text = to_text(&example());
        let line = |key: &str| {
            text.lines()
                .find(|line| line.starts_with(key))
                .unwrap_or_default()
                .to_owned()
        };
        assert!(
            line("server.listen").contains(r#""127.0.0.1:9000""#),
            "{text}"
        );
        assert!(
            line("server.listen").ends_with("# environment PORT"),
            "{text}"
        );
        assert!(line("auth.admin_key").contains(r#""[set]""#), "{text}");
        assert!(line("auth.api_keys").contains(r#""[not set]""#), "{text}");
        assert!(line("job.lease").ends_with("# default"), "{text}");
        assert!(!text.contains("s3cr3t"));
    }

    #[test]
    fn the_same_as_json() {
        let json: serde_json::Value = serde_json::from_str(&to_json(&example())).unwrap();
        assert_eq!(
            json["queue.max_concurrent"],
            json!({ "value": 4, "origin": "default" })
        );
        assert_eq!(json["auth.admin_key"]["value"], "[set]");
    }
}
