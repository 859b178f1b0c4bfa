//! The order in which rules are asked.
//!
//! 1. Denied by the operator, then by the request.
//! 2. A write to a protected path or outside the workspace, a read outside it where that is set.
//! 3. Left out of a list that restricts: the request's, then the operator's.
//! 4. A person's to decide, by the operator.
//! 5. Allowed by the request, then by the operator; nobody's opinion otherwise.

use patterns::PathPattern;

use crate::call::{Access, Call, Lists, Target, below};
use crate::rule::{self, Forbids, Rule};
use crate::settings::{Rules, Settings, read_rules};

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No rule is about it.
    Abstain,
    /// A rule allows it.
    Allow,
    /// The reason is for the agent.
    Deny(String),
    /// The question is for a person.
    Ask(String),
}

/// The answer, and the rule that it came from, e.g. `deny[3] Bash(curl *)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The answer.
    pub decision: Decision,
    /// None where no rule was about the call.
    pub cited: Option<String>,
}

impl Ruling {
    fn deny(cited: String, reason: String) -> Self {
        Self {
            decision: Decision::Deny(reason),
            cited: Some(cited),
        }
    }
}

/// Decides on one call.
///
/// # Errors
/// A rule of the settings cannot be read. One in the request's lists is no error: every call is
/// denied with the rule named, because nobody can say what it was meant to keep out.
pub fn decide(settings: &Settings, lists: &Lists, call: &Call) -> Result<Ruling, String> {
    let rules = settings.rules()?;
    let of_request = read_rules("allowedTools", &lists.allowed_tools).and_then(|allowed| {
        Ok((
            allowed,
            read_rules("disallowedTools", &lists.disallowed_tools)?,
        ))
    });
    let (allowed, disallowed) = match of_request {
        Ok(lists) => lists,
        Err(error) => {
            let reason = format!(
                "every call is denied, because a rule of the request cannot be read: {error}"
            );
            return Ok(Ruling::deny(error, reason));
        }
    };

    let listed: Vec<Rule> = rules.allow.iter().chain(&rules.ask).cloned().collect();
    let ruling = denied("deny", &rules.deny, call)
        .or_else(|| denied("disallowedTools", &disallowed, call))
        .or_else(|| confined(settings, &rules, call))
        .or_else(|| {
            left_out(
                "allowedTools",
                &allowed,
                !allowed.is_empty(),
                settings,
                call,
            )
        })
        .or_else(|| left_out("allow", &listed, settings.only_allowed, settings, call))
        .or_else(|| asked("ask", &rules.ask, call))
        .or_else(|| allowed_by("allowedTools", &allowed, call))
        .or_else(|| allowed_by("allow", &rules.allow, call));
    Ok(ruling.unwrap_or(Ruling {
        decision: Decision::Abstain,
        cited: None,
    }))
}

fn denied(list: &str, rules: &[Rule], call: &Call) -> Option<Ruling> {
    let (cited, text, doubt) = matched(list, rules, call)?;
    let reason = match doubt {
        Some(why) => format!("it might be what the rule {text} denies: {why}"),
        None => format!("the rule {text} denies it"),
    };
    Some(Ruling::deny(cited, reason))
}

fn asked(list: &str, rules: &[Rule], call: &Call) -> Option<Ruling> {
    let (cited, text, doubt) = matched(list, rules, call)?;
    let question = match doubt {
        Some(why) => format!("it might be what the rule {text} leaves to a person: {why}"),
        None => format!("the rule {text} leaves it to a person"),
    };
    Some(Ruling {
        decision: Decision::Ask(question),
        cited: Some(cited),
    })
}

/// The rule that a call matches or might match, as it is cited and as it is written, and what the doubt
/// is. One that matches for certain is named before one that only might.
fn matched<'a>(
    list: &str,
    rules: &'a [Rule],
    call: &Call,
) -> Option<(String, &'a str, Option<&'static str>)> {
    let asked: Vec<(usize, &Rule, Forbids)> = rules
        .iter()
        .enumerate()
        .map(|(place, rule)| (place, rule, rule.forbids(call)))
        .collect();
    let certain = asked.iter().find(|(_, _, answer)| *answer == Forbids::Yes);
    let (place, rule, answer) =
        certain.or_else(|| asked.iter().find(|(_, _, answer)| *answer != Forbids::No))?;
    let cited = format!("{list}[{place}] {}", rule.text);
    let doubt = match answer {
        Forbids::Unsure(why) => Some(*why),
        _ => None,
    };
    Some((cited, &rule.text, doubt))
}

fn confined(settings: &Settings, rules: &Rules, call: &Call) -> Option<Ruling> {
    let access = call.access()?;
    let writes = access == Access::Write;
    let setting = match (writes, settings.confine_writes, settings.confine_reads) {
        (true, true, _) => Some("confine_writes"),
        (false, _, true) => Some("confine_reads"),
        _ => None,
    };
    let (real, named) = match call.target() {
        Target::Path { real, named } => {
            (below(&call.workspace, real), below(&call.workspace, named))
        }
        Target::Unknown => (None, None),
    };
    if let (None, Some(setting)) = (&real, setting) {
        let deed = if writes { "written" } else { "read" };
        let reason = format!(
            "{} is for files inside the workspace; nothing outside it is {deed}",
            call.tool
        );
        return Some(Ruling::deny(setting.to_owned(), reason));
    }
    if !writes {
        return None;
    }
    // Also as it was named: a protected directory may itself be a link.
    let places = [real, named];
    let covers = |pattern: &PathPattern| places.iter().flatten().any(|path| pattern.covers(path));
    let mut protected = rules.protected.iter().enumerate();
    let (place, (text, _)) = protected.find(|(_, (_, pattern))| covers(pattern))?;
    let reason = format!(
        "{text} is protected: it steers git or the agent, and is not written to by {}",
        call.tool
    );
    Some(Ruling::deny(
        format!("protected_paths[{place}] {text}"),
        reason,
    ))
}

fn left_out(
    list: &str,
    rules: &[Rule],
    restricts: bool,
    settings: &Settings,
    call: &Call,
) -> Option<Ruling> {
    let stays = settings.always_allowed.contains(&call.tool);
    if !restricts || stays || rule::permits(rules, call).is_some() {
        return None;
    }
    let mut reason = format!(
        "no rule of {list} allows this {} call; allowed: {}",
        call.tool,
        summary(rules)
    );
    if call.tool == "Bash" {
        reason.push_str(
            ". Of a command line each command must be allowed, without substitutions, assignments before it \
             and redirections to files",
        );
    }
    Some(Ruling::deny(list.to_owned(), reason))
}

fn allowed_by(list: &str, rules: &[Rule], call: &Call) -> Option<Ruling> {
    let places = rule::permits(rules, call)?;
    let cited = places
        .iter()
        .filter_map(|place| Some(format!("{list}[{place}] {}", rules.get(*place)?.text)));
    Some(Ruling {
        decision: Decision::Allow,
        cited: Some(cited.collect::<Vec<_>>().join(", ")),
    })
}

/// The rules' texts, of long lists the start.
fn summary(rules: &[Rule]) -> String {
    if rules.is_empty() {
        return "nothing".into();
    }
    let mut text = rules
        .iter()
        .take(20)
        .map(|rule| rule.text.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    if rules.len() > 20 {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use serde_json::json;

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 25, |case| {
            let lists: Lists =
                serde_json::from_value(case.read("task")?).map_err(|e| e.to_string())?;
            let mut call = case.read("call")?;
            // Folders state the input as JSON and leave out what most of them share.
            if let Some(members) = call.as_object_mut() {
                let input = members
                    .get("input")
                    .map_or("{}".to_owned(), ToString::to_string);
                members.insert("input".into(), json!(input));
                members.entry("workspace").or_insert(json!("/work/task"));
                members.entry("cwd").or_insert(json!("/work/task"));
                if let Some(path) = members.get("path").cloned() {
                    members.entry("realPath").or_insert(path);
                }
            }
            let call: Call = serde_json::from_value(call).map_err(|e| e.to_string())?;
            let settings = case.read("settings")?.to_string();
            if let Err(error) = Settings::check(&settings) {
                return Ok(json!({ "settingsError": error }));
            }
            let ruling = decide(&Settings::read(&settings)?, &lists, &call)?;
            let (decision, reason) = match ruling.decision {
                Decision::Abstain => ("abstain", None),
                Decision::Allow => ("allow", None),
                Decision::Deny(reason) => ("deny", Some(reason)),
                Decision::Ask(reason) => ("ask", Some(reason)),
            };
            Ok(json!({ "decision": decision, "reason": reason, "cited": ruling.cited }))
        });
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn the_schema_s_defaults_are_the_settings_defaults() {
        let schema: serde_json::Value = serde_json::from_str(crate::SCHEMA).unwrap();
        let defaults = schema["properties"].as_object().unwrap();
        let defaults: serde_json::Map<_, _> = defaults
            .iter()
            .map(|(name, member)| (name.clone(), member["default"].clone()))
            .collect();
        let read: Settings = serde_json::from_value(defaults.into()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", Settings::default()));
    }
}
