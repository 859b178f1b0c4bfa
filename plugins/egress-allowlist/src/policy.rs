//! A tool call held against the list.

use serde::Deserialize;
use serde_json::Value;
use shell::{Context, Deed, Text, Unreadable, events};

use crate::commands::{Target, targets};
use crate::{Settings, address};

/// Values within values of an input.
const MAX_DEPTH: u8 = 32;

/// One tool call, as the host tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Call {
    /// `WebFetch`, `Bash`, `mcp__server__tool`, …
    pub tool: String,
    /// Whether it is a tool of an MCP server.
    pub is_mcp: bool,
    /// A JSON object, as text.
    pub input: String,
    /// Root of the workspace.
    pub workspace: String,
    /// Where a shell starts.
    pub cwd: String,
}

/// Why a call is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The rule, for the operator.
    pub cited: String,
    /// What to do instead, for the agent.
    pub reason: String,
}

/// Decides on one call; none where it names no host, or only such as are allowed.
pub fn decide(settings: &Settings, call: &Call) -> Option<Denial> {
    let list = List {
        // They were checked when the settings were loaded; what is none allows nothing.
        entries: settings.entries().unwrap_or_default(),
        deny_unknown: settings.deny_unknown,
    };
    let input: Value = serde_json::from_str(&call.input).unwrap_or_default();
    if call.tool == "WebFetch" {
        return match input.get("url").and_then(Value::as_str) {
            Some(url) => list.judge(url),
            None => Some(list.unknown("the call's url")),
        };
    }
    if settings.tools.contains(&call.tool) {
        return match input.get("command") {
            None => None,
            Some(Value::String(line)) => command(settings, &list, call, line),
            Some(_) => Some(list.unknown("a command that is no text")),
        };
    }
    if settings.mcp && call.is_mcp {
        return urls(&list, &input, 0);
    }
    None
}

fn command(settings: &Settings, list: &List, call: &Call, line: &str) -> Option<Denial> {
    let context = Context {
        workspace: &call.workspace,
        cwd: &call.cwd,
    };
    let events = match events(line, context) {
        Ok(events) => events,
        Err(Unreadable(why)) => {
            return list.deny_unknown.then(|| Denial {
                cited: format!("unreadable {why}"),
                reason: format!(
                    "the command line cannot be read with certainty, so nobody can tell which hosts it reaches: {why}. Write it more plainly, or as several commands"
                ),
            });
        }
    };
    events.iter().find_map(|event| match &event.deed {
        Deed::Run(argv) => {
            targets(argv, settings.registries)
                .iter()
                .find_map(|target| match target {
                    Target::Named(text) => list.judge_text(text),
                    Target::Configured(what) => list.deny_unknown.then(|| list.unknown(what)),
                })
        }
        Deed::Write(path) | Deed::Read(path) => socket(list, path),
        Deed::Script { .. } => None,
    })
}

/// `/dev/tcp/HOST/PORT`, which bash opens itself.
fn socket(list: &List, path: &Text) -> Option<Denial> {
    let rest = path
        .strip_prefix("/dev/tcp/")
        .or_else(|| path.strip_prefix("/dev/udp/"))?;
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    list.judge_text(&host)
}

/// Every text of an input that is a URL.
fn urls(list: &List, value: &Value, depth: u8) -> Option<Denial> {
    if depth > MAX_DEPTH {
        return Some(list.unknown("an input that is nested too deeply"));
    }
    match value {
        Value::String(text) => {
            let text = text.trim();
            let web = [
                "http://", "https://", "ws://", "wss://", "ftp://", "ssh://", "git://",
            ];
            let lower: String = text
                .chars()
                .take(8)
                .collect::<String>()
                .to_ascii_lowercase();
            web.iter()
                .any(|scheme| lower.starts_with(scheme))
                .then(|| list.judge(text))?
        }
        Value::Array(items) => items.iter().find_map(|item| urls(list, item, depth + 1)),
        Value::Object(members) => members
            .values()
            .find_map(|member| urls(list, member, depth + 1)),
        _ => None,
    }
}

struct List {
    entries: Vec<String>,
    deny_unknown: bool,
}

impl List {
    fn judge(&self, url: &str) -> Option<Denial> {
        let Some(host) = address::host(url) else {
            let shown: String = url.chars().take(80).collect();
            return Some(self.unknown(&shown));
        };
        if self.entries.iter().any(|entry| address::fits(entry, &host)) {
            return None;
        }
        Some(Denial {
            cited: format!("hosts {host}"),
            reason: format!(
                "{host} is not among the hosts that this task may reach. Allowed: {}",
                self.shown()
            ),
        })
    }

    /// The host is known where everything before its end is: `https://example.com/$PATH`.
    fn judge_text(&self, text: &Text) -> Option<Denial> {
        if let Some(known) = text.known() {
            // Options of the command that are not known here, and nothing.
            return if known.is_empty() {
                None
            } else {
                self.judge(known)
            };
        }
        let start = text.start();
        let behind = start.split_once("://").map_or("", |(_, rest)| rest);
        if behind.contains(['/', '?', '#']) && !behind.starts_with('/') {
            return self.judge(start);
        }
        self.deny_unknown.then(|| self.unknown(&text.to_string()))
    }

    fn unknown(&self, what: &str) -> Denial {
        Denial {
            cited: format!("deny_unknown {what}"),
            reason: format!(
                "nobody can tell which host {what} names. Write the URL out, with one host in its usual spelling. Allowed: {}",
                self.shown()
            ),
        }
    }

    fn shown(&self) -> String {
        if self.entries.is_empty() {
            return "none".to_owned();
        }
        let mut shown = self
            .entries
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        if self.entries.len() > 20 {
            shown.push_str(", …");
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use serde_json::json;

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 40, |case| {
            let call = case.read("call")?;
            let tool = call["tool"].as_str().unwrap_or("Bash").to_owned();
            let call = Call {
                is_mcp: tool.starts_with("mcp__"),
                tool,
                input: call["input"].to_string(),
                workspace: "/work/task".to_owned(),
                cwd: "/work/task".to_owned(),
            };
            let mut settings = case.read("settings")?;
            // Most folders share a list.
            if settings.get("hosts").is_none() && settings.get("host").is_none() {
                settings["hosts"] = json!(["example.com", "*.example.org", "127.0.0.1"]);
            }
            let settings = settings.to_string();
            if let Err(error) = Settings::check(&settings) {
                return Ok(json!({ "settingsError": error }));
            }
            Ok(match decide(&Settings::read(&settings)?, &call) {
                None => json!({ "decision": "abstain" }),
                Some(Denial { cited, reason }) => {
                    json!({ "decision": "deny", "cited": cited, "reason": reason })
                }
            })
        });
        assert_eq!(result, Ok(()));
    }
}
