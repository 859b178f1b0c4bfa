//! `secret://…` in place of a value: it stands in Secret Manager.

use std::fmt;

/// What marks it.
const SCHEME: &str = "secret://";

/// What it may look like, for people.
const FORMS: &str = "\"secret://NAME\", \"secret://NAME/VERSION\" or \
     \"secret://projects/PROJECT/secrets/NAME/versions/VERSION\"";

/// The version that is newest whenever it is asked for.
const LATEST: &str = "latest";

/// A version of a secret: `projects/P/secrets/S/versions/V`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretName(String);

impl SecretName {
    /// None where `text` is a value itself. Without a project of its own it is meant in `project`, without
    /// a version it is the latest. An error says what was expected, and repeats nothing.
    pub fn parse(text: &str, project: &str) -> Option<Result<Self, String>> {
        let parts: Vec<&str> = text.strip_prefix(SCHEME)?.split('/').collect();
        let (project, name, version) = match *parts {
            [name] => (project, name, LATEST),
            [name, version] => (project, name, version),
            ["projects", project, "secrets", name, "versions", version] => (project, name, version),
            _ => return Some(Err(format!("expected {FORMS}"))),
        };
        if !(is_made_of(name, b"-_", 255) && is_made_of(version, b"-_", 63)) {
            return Some(Err(format!(
                "expected {FORMS}, of letters, digits, \"-\" and \"_\""
            )));
        }
        if !is_made_of(project, b"-_.:", 100) {
            return Some(Err(
                "names no project: set google.project_id, or write secret://projects/PROJECT/…"
                    .to_owned(),
            ));
        }
        Some(Ok(Self(format!(
            "projects/{project}/secrets/{name}/versions/{version}"
        ))))
    }

    /// Whether it may hold something else tomorrow.
    pub fn may_change(&self) -> bool {
        let version = self.0.rsplit('/').next().unwrap_or_default();
        !version.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// `projects/P/secrets/S/versions/V`
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether a value is written as one that stands elsewhere, well or not.
pub(super) fn is_one(text: &str) -> bool {
    text.starts_with(SCHEME)
}

fn is_made_of(text: &str, marks: &[u8], longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(text: &str) -> Option<Result<String, String>> {
        Some(SecretName::parse(text, "p-1")?.map(|name| name.to_string()))
    }

    #[test]
    fn project_and_version_may_be_left_out() {
        for (text, expected) in [
            ("secret://key", "projects/p-1/secrets/key/versions/latest"),
            ("secret://key/7", "projects/p-1/secrets/key/versions/7"),
            (
                "secret://projects/p-2/secrets/key/versions/blue",
                "projects/p-2/secrets/key/versions/blue",
            ),
        ] {
            assert_eq!(parse(text), Some(Ok(expected.to_owned())));
        }
        assert_eq!(parse("sk-secret://key"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn anything_else_is_refused_without_being_repeated() {
        for text in [
            "secret://",
            "secret://a/b/c",
            "secret:///7",
            "secret://key/",
            "secret://../7",
            "secret://key/7:access",
            "secret://key?x=y",
            "secret://projects/p/secrets/key",
            "secret://projects//secrets/key/versions/1",
            &format!("secret://{}", "x".repeat(256)),
        ] {
            let why = parse(text).unwrap().unwrap_err();
            assert!(!why.contains(text) || text == "secret://", "{why}");
        }
        let nowhere = SecretName::parse("secret://key", "").unwrap();
        assert!(nowhere.unwrap_err().contains("google.project_id"));
    }

    #[test]
    fn only_a_numbered_version_stays_what_it_is() {
        for (text, may_change) in [
            ("secret://key", true),
            ("secret://key/latest", true),
            ("secret://key/blue", true),
            ("secret://key/7", false),
        ] {
            let name = SecretName::parse(text, "p-1").unwrap().unwrap();
            assert_eq!(name.may_change(), may_change, "{text}");
        }
    }
}
