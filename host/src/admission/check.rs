//! Steps 1 and 2: from bytes to a draft.

use serde_json::{Map, Value};

use super::schema::{FIELDS, Field, find};
use super::{Draft, Refusal, Request, mcp};
use crate::config::{Task, nearest};
use crate::task::Mode;

/// Reads the body as a JSON object. Duplicate keys: the last one wins, as in JavaScript.
pub(super) fn parse(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    // What the parser says of the place is safe; what it says of the content might repeat it.
    let value = serde_json::from_slice(body).map_err(|error| {
        let message = format!(
            "the body is no valid JSON (line {}, column {})",
            error.line(),
            error.column()
        );
        Refusal::new(400, "invalid-json", message)
    })?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(Refusal::new(
            400,
            "body-not-an-object",
            "the body must be a JSON object",
        )),
    }
}

/// Checks every field and fills in defaults. The order of the checks is the Node service's where
/// callers can tell.
pub(super) fn draft(
    mut value: Map<String, Value>,
    mode: Mode,
    task: &Task,
) -> Result<Draft, Refusal> {
    if value.contains_key("mcpConfigJson") {
        let message =
            "mcpConfigJson is not taken any more; send its content as an object in mcpConfig";
        return Err(Refusal::new(400, "unknown-field", message).field("mcpConfigJson"));
    }
    if let Some(name) = value.keys().find(|name| find(name).is_none()) {
        return Err(unknown_field(
            "",
            name,
            FIELDS.iter().map(|field| field.name),
        ));
    }
    value.retain(|name, value| find(name).is_some_and(|field| !field.is_absent(value)));
    required(&value, mode)?;
    for field in &FIELDS {
        if let Some(value) = value.get(field.name) {
            field.check(value, task)?;
        }
    }
    for field in &FIELDS {
        if value.contains_key(field.name) {
            servable(field, mode)?;
        }
    }
    let mut warnings = drop_idle(&mut value, mode);
    for field in &FIELDS {
        if !value.contains_key(field.name)
            && let Some(default) = field.default.and_then(|default| default(task))
        {
            value.insert(field.name.to_owned(), default);
        }
    }
    let request = Request::from_admitted(&value)?;
    warnings.extend(mcp::check(&request)?);
    Ok(Draft {
        value,
        request,
        mode,
        warnings,
        approved_tools: Vec::new(),
    })
}

/// A refusal of a name that nobody knows, with the one that was meant if that can be guessed. Below
/// `path`, or at the top where it is empty.
pub(super) fn unknown_field(
    path: &str,
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Refusal {
    let hint = nearest(name, known)
        .map(|meant| format!("; did you mean `{meant}`?"))
        .unwrap_or_default();
    // A name that looks like none may be a value in the wrong place, so it is not repeated.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let name =
        Some(name).filter(|name| !name.is_empty() && name.len() <= 64 && name.bytes().all(plain));
    let full = match (path, name) {
        ("", Some(name)) => Some(name.to_owned()),
        ("", None) => None,
        (path, Some(name)) => Some(format!("{path}.{name}")),
        (path, None) => Some(path.to_owned()),
    };
    let message = match (&full, name) {
        (Some(full), Some(_)) => format!("{full} is no known field{hint}"),
        (Some(full), None) => format!("{full} has a field of unknown name{hint}"),
        (None, _) => format!("the body has a field of unknown name{hint}"),
    };
    Refusal {
        field: full,
        ..Refusal::new(400, "unknown-field", message)
    }
}

fn required(value: &Map<String, Value>, mode: Mode) -> Result<(), Refusal> {
    if !value.contains_key("prompt") {
        return Err(Refusal::at("required", "prompt", "is required"));
    }
    if mode == Mode::Async && !value.contains_key("callbackUrl") {
        return Err(Refusal::at(
            "required",
            "callbackUrl",
            "is required for async tasks",
        ));
    }
    if !value.contains_key("anthropicApiKey") && !value.contains_key("anthropicOAuthToken") {
        let message = "Either anthropicApiKey or anthropicOAuthToken is required";
        return Err(Refusal::new(400, "credential-required", message).field("anthropicApiKey"));
    }
    Ok(())
}

/// Nothing is silently ignored: what cannot be carried out here is refused.
fn servable(field: &Field, mode: Mode) -> Result<(), Refusal> {
    if let Some((only, sentence)) = field.only
        && only != mode
    {
        return Err(Refusal::invalid(field.name, sentence));
    }
    Ok(())
}

/// Takes out what has no effect, and says so.
fn drop_idle(value: &mut Map<String, Value>, mode: Mode) -> Vec<String> {
    let mut warnings = Vec::new();
    let (repository, key) = (value.contains_key("gitRepo"), value.contains_key("sshKey"));
    let mut idle = |name: &str, why: &str| {
        if value.shift_remove(name).is_some() {
            warnings.push(format!("{name} has no effect: {why}"));
        }
    };
    idle(
        "useNamedPipe",
        "the prompt goes to the agent by its control protocol",
    );
    if !repository {
        for name in [
            "gitBranch",
            "gitDepth",
            "gitSubmodules",
            "gitLfs",
            "gitAccess",
            "sshKey",
            "gitToken",
        ] {
            idle(name, "there is no gitRepo");
        }
    } else if !key {
        idle("gitAccess", "there is no sshKey");
    }
    if mode == Mode::Async {
        idle("detach", "a task of /run-async has no follower to outlive");
    }
    if value.contains_key("anthropicApiKey") && value.shift_remove("anthropicOAuthToken").is_some()
    {
        warnings
            .push("anthropicOAuthToken has no effect: anthropicApiKey goes before it".to_owned());
    }
    warnings
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
