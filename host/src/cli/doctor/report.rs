//! What the checks found, for people and for programs.

use std::io::Write;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Warn,
    Fail,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) state: State,
    pub(super) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            message: message.into(),
            remedy: None,
        }
    }

    pub(super) fn warn(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            state: State::Warn,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(super) fn fail(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            state: State::Fail,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }
}

pub(super) struct Report(pub(super) Vec<Finding>);

impl Report {
    /// Warnings do not count: the gateway works, with less than it could have.
    pub(super) fn healthy(&self) -> bool {
        self.0.iter().all(|finding| finding.state != State::Fail)
    }

    pub(super) fn print(&self, as_json: bool) {
        let text = if as_json {
            self.to_json()
        } else {
            self.to_text()
        };
        // Whoever closes the pipe has seen enough.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for Finding {
            check,
            state,
            message,
            remedy,
        } in &self.0
        {
            let word = match state {
                State::Ok => "ok  ",
                State::Warn => "warn",
                State::Fail => "FAIL",
            };
            // Messages come from the system and from plugins; a line of theirs must not look like ours.
            let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            text.push_str(&format!("{word}  {check:10}  {}\n", flat(message)));
            if let Some(remedy) = remedy {
                text.push_str(&format!("{:18}-> {}\n", "", flat(remedy)));
            }
        }
        text
    }

    fn to_json(&self) -> String {
        format!(
            "{:#}\n",
            serde_json::json!({ "healthy": self.healthy(), "findings": self.0 })
        )
    }
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

    #[test]
    fn only_a_failure_makes_it_unhealthy_and_each_finding_says_what_to_do() {
        let mut report = Report(vec![
            Finding::ok("port", "free"),
            Finding::warn("disk", "low\nok    port", "make room"),
        ]);
        assert!(report.healthy());
        let text = report.to_text();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("-> make room"));
        report.0.push(Finding::fail("cli", "absent", "install it"));
        assert!(!report.healthy());
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["healthy"], false);
        assert_eq!(json["findings"][2]["state"], "fail");
    }
}
