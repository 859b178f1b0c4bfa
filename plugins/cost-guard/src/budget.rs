//! A request held against the rule of its caller.

use patterns::Wildcard;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Settings;
use crate::settings::{Mode, OtherCallers, Rule};

/// What is looked at of a request, by API names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the API documents its fields")]
pub struct Request {
    pub caller: String,
    pub model: Option<String>,
    pub fallback_model: Option<String>,
    pub subagents: Value,
    pub slash_commands: Value,
    pub max_turns: u32,
    pub timeout_minutes: u32,
    pub max_budget_usd: Option<f64>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// As it is.
    Accept,
    /// With this JSON Merge Patch.
    Amend(Value),
    /// Not at all.
    Reject(Rejection),
}

/// Why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Stable.
    pub code: &'static str,
    /// The field at fault, by its API name.
    pub field: Option<&'static str>,
    /// What was expected.
    pub message: String,
}

/// Holds a request against the settings; also the rule that decided, where one did.
pub fn validate(settings: &Settings, request: &Request) -> (Option<String>, Verdict) {
    let fits = |rule: &Rule| any(&rule.callers, &request.caller);
    let Some((place, rule)) = settings
        .rules
        .iter()
        .enumerate()
        .find(|(_, rule)| fits(rule))
    else {
        return match settings.other_callers {
            OtherCallers::Accept => (None, Verdict::Accept),
            OtherCallers::Reject => {
                let rejection = Rejection {
                    code: "caller-not-allowed",
                    field: None,
                    message: "no budget is set for this caller; ask the operator for one".into(),
                };
                (Some("other_callers".into()), Verdict::Reject(rejection))
            }
        };
    };
    let cited = |limit: &str| Some(format!("rules[{place}] {limit}"));
    if let Some(rejection) = model(rule, request) {
        return (cited("models"), Verdict::Reject(rejection));
    }
    let excess = excess(rule, request);
    let Some(first) = excess.first() else {
        return (None, Verdict::Accept);
    };
    if rule.mode.unwrap_or(settings.mode) == Mode::Reject {
        let rejection = Rejection {
            code: first.code,
            field: Some(first.field),
            message: format!(
                "{} must be stated and at most {} for this caller",
                first.field, first.limit
            ),
        };
        return (cited(first.setting), Verdict::Reject(rejection));
    }
    let limits: Vec<&str> = excess.iter().map(|excess| excess.setting).collect();
    let cited = cited(&limits.join(", "));
    let patch: Map<String, Value> = excess
        .into_iter()
        .map(|excess| (excess.field.to_owned(), excess.limit))
        .collect();
    (cited, Verdict::Amend(patch.into()))
}

fn any(patterns: &[String], text: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| Wildcard::new(pattern).matches(text))
}

fn model(rule: &Rule, request: &Request) -> Option<Rejection> {
    let allowed = rule.models.as_deref()?;
    let (code, field) = if request.model.is_none() {
        ("model-required", "model")
    } else {
        let named = ::request::models(
            request.model.as_deref(),
            request.fallback_model.as_deref(),
            &request.subagents,
            &request.slash_commands,
        );
        let wrong = named.iter().find(|named| !any(allowed, &named.model))?;
        ("model-not-allowed", wrong.field)
    };
    Some(Rejection {
        code,
        field: Some(field),
        message: format!(
            "{field} must name one of these models: {}",
            allowed.join(", ")
        ),
    })
}

/// A number that is too large, and what it may be.
struct Excess {
    code: &'static str,
    field: &'static str,
    setting: &'static str,
    limit: Value,
}

fn excess(rule: &Rule, request: &Request) -> Vec<Excess> {
    let turns = rule.max_turns.filter(|limit| request.max_turns > *limit);
    let turns = turns.map(|limit| Excess {
        code: "too-many-turns",
        field: "maxTurns",
        setting: "max_turns",
        limit: json!(limit),
    });
    let minutes = rule
        .max_timeout_minutes
        .filter(|limit| request.timeout_minutes > *limit);
    let minutes = minutes.map(|limit| Excess {
        code: "timeout-too-long",
        field: "timeoutMinutes",
        setting: "max_timeout_minutes",
        limit: json!(limit),
    });
    let within = |limit: f64| request.max_budget_usd.is_some_and(|budget| budget <= limit);
    let budget = rule.max_budget_usd.filter(|limit| !within(*limit));
    let budget = budget.map(|limit| Excess {
        code: "budget-too-high",
        field: "maxBudgetUsd",
        setting: "max_budget_usd",
        limit: json!(limit),
    });
    [turns, minutes, budget].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 15, |case| {
            let request: Request =
                serde_json::from_value(case.read("task")?).map_err(|error| error.to_string())?;
            let settings = case.read("settings")?.to_string();
            if let Err(error) = Settings::check(&settings) {
                return Ok(json!({ "settingsError": error }));
            }
            let (cited, verdict) = validate(&Settings::read(&settings)?, &request);
            Ok(match verdict {
                Verdict::Accept => json!({ "verdict": "accept", "cited": cited }),
                Verdict::Amend(patch) => {
                    json!({ "verdict": "amend", "patch": patch, "cited": cited })
                }
                Verdict::Reject(Rejection {
                    code,
                    field,
                    message,
                }) => json!({
                    "verdict": "reject", "code": code, "field": field, "message": message, "cited": cited,
                }),
            })
        });
        assert_eq!(result, Ok(()));
    }
}
