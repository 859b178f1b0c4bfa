//! A request held against the settings.

use patterns::{Wildcard, url};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use request::Named;

use crate::{Settings, repository};

/// What is looked at of a request, by API names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the API documents its fields")]
pub struct Request {
    pub prompt: String,
    pub git_repo: Option<String>,
    pub model: Option<String>,
    pub fallback_model: Option<String>,
    pub subagents: Value,
    pub slash_commands: Value,
    pub max_turns: u32,
    pub timeout_minutes: u32,
    pub max_budget_usd: Option<f64>,
    pub permission_mode: String,
    pub secret_names: Vec<String>,
    pub callback_url: Option<String>,
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
    pub field: &'static str,
    /// What was expected.
    pub message: String,
}

/// Holds a request against the settings; the first limit that it breaks is told.
///
/// # Errors
/// A setting cannot be read.
pub fn validate(settings: &Settings, request: &Request) -> Result<Verdict, String> {
    let repositories = settings.repositories()?;
    let rejection = prompt(settings, request)
        .or_else(|| repository(settings, repositories.as_deref(), request))
        .or_else(|| model(settings, request))
        .or_else(|| permission_mode(settings, request))
        .or_else(|| secret_names(settings, request))
        .or_else(|| callback(settings, request));
    if let Some(rejection) = rejection {
        return Ok(Verdict::Reject(rejection));
    }

    let excess = excess(settings, request);
    let Some(first) = excess.first() else {
        return Ok(Verdict::Accept);
    };
    if !settings.clamp {
        return Ok(Verdict::Reject(Rejection {
            code: first.code,
            field: first.field,
            message: format!("{} must be stated and at most {}", first.field, first.limit),
        }));
    }
    let patch: Map<String, Value> = excess
        .into_iter()
        .map(|excess| (excess.field.to_owned(), excess.limit))
        .collect();
    Ok(Verdict::Amend(patch.into()))
}

fn reject(code: &'static str, field: &'static str, message: String) -> Option<Rejection> {
    Some(Rejection {
        code,
        field,
        message,
    })
}

fn prompt(settings: &Settings, request: &Request) -> Option<Rejection> {
    let limit = settings
        .max_prompt_bytes
        .filter(|limit| request.prompt.len() > *limit)?;
    let message = format!(
        "the prompt has {} bytes; at most {limit} are allowed",
        request.prompt.len()
    );
    reject("prompt-too-long", "prompt", message)
}

fn repository(
    settings: &Settings,
    patterns: Option<&[patterns::PathPattern]>,
    request: &Request,
) -> Option<Rejection> {
    let Some(named) = &request.git_repo else {
        if settings.allow_no_repository {
            return None;
        }
        return reject(
            "repository-required",
            "gitRepo",
            "a request must name its gitRepo".into(),
        );
    };
    let patterns = patterns?;
    let allowed = settings
        .allowed_repositories
        .as_deref()
        .unwrap_or_default()
        .join(", ");
    match repository::normal(named) {
        None => reject(
            "repository-not-readable",
            "gitRepo",
            "expected https://host/path, ssh://git@host/path or git@host:path, without escapes, query and `..`".into(),
        ),
        Some(name) if repository::fits(patterns, &name) => None,
        Some(_) => reject("repository-not-allowed", "gitRepo", format!("expected one of these repositories: {allowed}")),
    }
}

fn model(settings: &Settings, request: &Request) -> Option<Rejection> {
    let allowed = settings.allowed_models.as_deref()?;
    let list = allowed.join(", ");
    let Some(model) = &request.model else {
        return reject(
            "model-required",
            "model",
            format!("a request must name one of these models: {list}"),
        );
    };
    let named = ::request::models(
        Some(model),
        request.fallback_model.as_deref(),
        &request.subagents,
        &request.slash_commands,
    );
    let patterns: Vec<Wildcard> = allowed
        .iter()
        .map(|pattern| Wildcard::new(pattern))
        .collect();
    let fits = |named: &Named| patterns.iter().any(|pattern| pattern.matches(&named.model));
    let wrong = named.iter().find(|named| !fits(named))?;
    reject(
        "model-not-allowed",
        wrong.field,
        format!("expected one of these models: {list}"),
    )
}

fn permission_mode(settings: &Settings, request: &Request) -> Option<Rejection> {
    if !settings
        .forbidden_permission_modes
        .contains(&request.permission_mode)
    {
        return None;
    }
    let message = format!(
        "expected another mode than {}",
        settings.forbidden_permission_modes.join(", ")
    );
    reject("permission-mode-forbidden", "permissionMode", message)
}

fn secret_names(settings: &Settings, request: &Request) -> Option<Rejection> {
    let forbidden = settings.forbidden_secret_names.iter().find(|pattern| {
        let pattern = Wildcard::new(pattern);
        request
            .secret_names
            .iter()
            .any(|name| pattern.matches(name))
    })?;
    reject(
        "secret-name-forbidden",
        "environmentSecrets",
        format!("names that match {forbidden} are not accepted"),
    )
}

fn callback(settings: &Settings, request: &Request) -> Option<Rejection> {
    let allowed = settings.allowed_callback_hosts.as_deref()?;
    let url = request.callback_url.as_deref()?;
    let host = url::host(url, &["http", "https"]);
    if host.is_some_and(|host| allowed.iter().any(|pattern| url::host_fits(pattern, &host))) {
        return None;
    }
    let message = format!(
        "expected a URL without user information on one of these hosts: {}",
        allowed.join(", ")
    );
    reject("callback-host-not-allowed", "callbackUrl", message)
}

/// A number that is too large, and what it may be.
struct Excess {
    code: &'static str,
    field: &'static str,
    limit: Value,
}

fn excess(settings: &Settings, request: &Request) -> Vec<Excess> {
    let turns = settings
        .max_turns
        .filter(|limit| request.max_turns > *limit)
        .map(|limit| Excess {
            code: "too-many-turns",
            field: "maxTurns",
            limit: json!(limit),
        });
    let timeout = settings
        .max_timeout_minutes
        .filter(|limit| request.timeout_minutes > *limit)
        .map(|limit| Excess {
            code: "timeout-too-long",
            field: "timeoutMinutes",
            limit: json!(limit),
        });
    let budget = settings
        .max_budget_usd
        .filter(|limit| {
            !request
                .max_budget_usd
                .is_some_and(|budget| budget <= *limit)
        })
        .map(|limit| Excess {
            code: "budget-too-high",
            field: "maxBudgetUsd",
            limit: json!(limit),
        });
    [turns, timeout, budget].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 15, |case| {
            let request: Request =
                serde_json::from_value(case.read("task")?).map_err(|e| e.to_string())?;
            let settings = case.read("settings")?.to_string();
            if let Err(error) = Settings::check(&settings) {
                return Ok(json!({ "settingsError": error }));
            }
            Ok(match validate(&Settings::read(&settings)?, &request)? {
                Verdict::Accept => json!({ "verdict": "accept" }),
                Verdict::Amend(patch) => json!({ "verdict": "amend", "patch": patch }),
                Verdict::Reject(Rejection {
                    code,
                    field,
                    message,
                }) => {
                    json!({ "verdict": "reject", "code": code, "field": field, "message": message })
                }
            })
        });
        assert_eq!(result, Ok(()));
    }
}
