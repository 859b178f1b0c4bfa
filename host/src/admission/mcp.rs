//! `mcpConfig`: what its texts refer to, which servers must start, and what of it is secret.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::{Refusal, Request};

/// Variables that the agent has beside the task's own.
const ALWAYS_THERE: [&str; 5] = ["HOME", "PATH", "TMPDIR", "SHELL", "LANG"];

/// Refuses a required server that is not configured. What is not defined is told: the CLI leaves the
/// reference as it stands.
pub(super) fn check(request: &Request) -> Result<Vec<String>, Refusal> {
    let servers = servers(request);
    let required = request.required_mcp_servers.iter().enumerate();
    for (place, name) in required {
        if !servers.is_some_and(|servers| servers.contains_key(name)) {
            let field = format!("requiredMcpServers[{place}]");
            return Err(Refusal::invalid(
                &field,
                "names a server that mcpConfig does not have",
            ));
        }
    }
    let mut undefined = Vec::new();
    for text in texts_of(request.mcp_config.as_ref()) {
        for name in references(text) {
            let known =
                request.environment_secrets.contains_key(name) || ALWAYS_THERE.contains(&name);
            let warning = format!(
                "mcpConfig refers to ${{{name}}}, which environmentSecrets does not define: it stays as it stands"
            );
            if !known && !undefined.contains(&warning) {
                undefined.push(warning);
            }
        }
    }
    Ok(undefined)
}

/// Values that a server is given as its credentials: of its environment, and of the headers that are
/// sent to it, those with a scheme before them also without it. References are no values, and neither
/// are paths and addresses that hold no password.
pub(super) fn secrets(request: &Request) -> Vec<SecretString> {
    let mut secrets = Vec::new();
    for server in servers(request).into_iter().flat_map(Map::values) {
        for (part, value) in ["env", "headers"]
            .iter()
            .filter_map(|part| Some((*part, server.get(*part)?.as_object()?)))
            .flat_map(|(part, values)| values.values().map(move |value| (part, value)))
        {
            let Some(value) = value.as_str().filter(|value| is_secret(value)) else {
                continue;
            };
            secrets.push(SecretString::from(value));
            if let ("headers", Some((_, token))) = (part, value.split_once(' ')) {
                secrets.push(SecretString::from(token));
            }
        }
    }
    secrets
}

fn is_secret(value: &str) -> bool {
    let refers = references(value).next().is_some();
    let is_address = url::Url::parse(value).is_ok_and(|url| {
        url.has_host()
            && url.password().is_none()
            && url.username().is_empty()
            && url.query().is_none()
    });
    !refers && !is_address && !value.starts_with('/')
}

fn servers(request: &Request) -> Option<&Map<String, Value>> {
    request.mcp_config.as_ref()?.get("mcpServers")?.as_object()
}

fn texts_of(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().flat_map(|item| texts_of(Some(item))).collect(),
        Some(Value::Object(fields)) => fields
            .values()
            .flat_map(|item| texts_of(Some(item)))
            .collect(),
        _ => Vec::new(),
    }
}

/// The names in `${NAME}`, those with a default left out.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let inner = text.split("${").skip(1);
    let named = inner.filter_map(|rest| rest.split_once('}').map(|(name, _)| name));
    named.filter(|name| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn request(mcp_config: Value) -> Request {
        let request = json!({
            "prompt": "x", "permissionMode": "default", "maxTurns": 1, "timeoutMinutes": 1,
            "environmentSecrets": {"KNOWN": "v"}, "mcpConfig": mcp_config,
        });
        Request::from_admitted(request.as_object().unwrap()).unwrap()
    }

    #[test]
    fn only_references_without_a_value_and_a_default_are_told() {
        let config = json!({"mcpServers": {"a": {
            "command": "${UNKNOWN}", "args": ["${KNOWN}", "${OTHER:-x}", "${UNKNOWN}", "$PLAIN", "${HOME}"],
            "env": {"X": "a ${IN_ENV} b ${not a name}"},
        }}});
        let warnings = check(&request(config)).unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings
                .iter()
                .any(|warning| warning.contains("${UNKNOWN}"))
        );
        assert!(warnings.iter().any(|warning| warning.contains("${IN_ENV}")));
    }

    #[test]
    fn what_servers_are_given_as_credentials_is_secret() {
        let config = json!({"mcpServers": {
            "a": {"command": "c", "args": ["--not-this"], "env": {
                "TOKEN": "tok-123456", "REF": "${KNOWN}", "DIR": "/srv/data", "URL": "https://api.example.com/x",
                "DB": "postgres://u:pass@host/db", "PORT": 7,
            }},
            "b": {"url": "https://x", "headers": {"Authorization": "Bearer abcdef"}},
        }});
        let secrets = secrets(&request(config));
        let mut secrets: Vec<&str> = secrets.iter().map(ExposeSecret::expose_secret).collect();
        secrets.sort_unstable();
        assert_eq!(
            secrets,
            [
                "Bearer abcdef",
                "abcdef",
                "postgres://u:pass@host/db",
                "tok-123456"
            ]
        );
    }
}
