//! The variables with names of their own, and what a job gets to see of the environment.

use std::collections::BTreeMap;

use super::{Config, Sources};

/// Variables that set one key, by the names that operators know. An empty one counts as not set.
/// `GATEHOUSE__SECTION__KEY` goes over them.
pub(super) const NAMED: [(&str, &str); 19] = [
    ("GATEHOUSE_DATA_DIR", "data_dir"),
    ("GATEHOUSE_LISTEN", "server.listen"),
    ("GATEHOUSE_API_KEYS", "auth.api_keys"),
    ("GATEHOUSE_ADMIN_KEY", "auth.admin_key"),
    ("GCS_LOGS_BUCKET", "storage.logs_bucket"),
    // Of two variables for one key the later counts.
    ("GCS_PROJECT_ID", "google.project_id"),
    ("PROJECT_ID", "google.project_id"),
    ("REGION", "google.region"),
    ("KMS_KEY_RING", "google.kms_key_ring"),
    ("KMS_KEY_NAME", "google.kms_key_name"),
    ("KMS_LOCATION", "google.kms_location"),
    ("CLOUDRUN_JOB_NAME", "google.job_name"),
    ("MAX_CONCURRENT_TASKS", "queue.max_concurrent"),
    ("ALLOWED_TOOLS", "task.allowed_tools"),
    ("PERMISSION_MODE", "task.permission_mode"),
    ("GATEHOUSE_CLAUDE_BIN", "agent.claude_bin"),
    ("GATEHOUSE_ANTHROPIC_URL", "broker.upstream"),
    ("GATEHOUSE_PLUGINS", "plugins.manifest"),
    ("CLOUDRUN_CALLBACK_SECRET", "webhook.secret"),
];

/// Names the file.
pub(super) const FILE: &str = "GATEHOUSE_CONFIG";

/// Prefix of the variables that name any key: `GATEHOUSE__SERVER__BODY_LIMIT`.
pub(super) const PREFIX: &str = "GATEHOUSE__";

/// Keys whose values are secrets: shown as set or not set, and kept from jobs.
pub(super) const SECRET_KEYS: [&str; 4] = [
    "auth.api_keys",
    "auth.admin_key",
    "webhook.secret",
    "plugins.registries",
];

/// Keys whose values are tables with names of the operator's choice.
pub(super) const TABLES: [&str; 5] = [
    "auth.keys",
    "auth.oidc.require",
    "plugins.registries",
    "plugins.signatures.keys",
    "plugins.signatures.any_of",
];

/// What programs need that configures nothing of ours.
const BASICS: [&str; 8] = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    // Where Google's programs look for the file with their credentials; a path.
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// The key that a `GATEHOUSE__SECTION__KEY` names.
pub(super) fn key_of(variable: &str) -> Option<String> {
    Some(
        variable
            .strip_prefix(PREFIX)?
            .to_ascii_lowercase()
            .replace("__", "."),
    )
}

/// The variable that names `key`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// The whole environment of a job's sub-process: what configures it, and what programs need.
///
/// The gateway's secrets are left out; a job has no use for them. Paths are absolute and flags come as
/// variables, so that the job reads the same settings from wherever it is started.
pub fn job_environment(sources: &Sources, config: &Config) -> BTreeMap<String, String> {
    let mut job: BTreeMap<String, String> = sources
        .environment
        .iter()
        .filter(|(name, _)| configures(name) && !secret(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for (key, value) in sources
        .flags
        .iter()
        .filter(|(key, _)| !SECRET_KEYS.contains(&key.as_str()))
    {
        job.insert(variable_of(key), value.clone());
    }
    let paths = [
        ("data_dir", Some(&config.data_dir)),
        ("envelope.local_key", Some(&config.envelope.local_key)),
        ("plugins.manifest", Some(&config.plugins.manifest)),
        ("job.work_dir", config.job.work_dir.as_ref()),
        ("agent.claude_bin", config.agent.claude_bin.as_ref()),
    ];
    for (key, path) in paths {
        if let Some(path) = path.and_then(|path| path.to_str()) {
            job.insert(variable_of(key), path.to_owned());
        }
    }
    // Who may call is nothing to a job; part of it stands in the environment, which a job is not given.
    for (key, nothing) in [
        ("keys", "{}"),
        ("oidc.issuer", ""),
        ("oidc.audience", ""),
        ("oidc.jwks_url", ""),
        ("oidc.caller_claim", ""),
        ("oidc.tenant_claim", ""),
        ("oidc.require", "{}"),
    ] {
        job.insert(variable_of(&format!("auth.{key}")), nothing.to_owned());
    }
    // A job loads by digest what the gateway has verified. It needs no key, and a key that is gone must not
    // end what was admitted before.
    for (key, nothing) in [("keys", "{}"), ("all_of", ""), ("any_of", "{}")] {
        let key = format!("plugins.signatures.{key}");
        job.insert(variable_of(&key), nothing.to_owned());
    }
    if let Some(file) = sources
        .file()
        .and_then(|file| std::path::absolute(file).ok())
        && let Some(file) = file.to_str()
    {
        job.insert(FILE.to_owned(), file.to_owned());
    }
    job
}

fn configures(name: &str) -> bool {
    name.starts_with("GATEHOUSE_")
        || name.starts_with("LOG_LEVEL")
        || name.starts_with("LC_")
        || BASICS.contains(&name)
        || NAMED.iter().any(|(known, _)| *known == name)
}

fn secret(name: &str) -> bool {
    if ["GATEHOUSE_API_KEY", "GATEHOUSE_IDENTITY_TOKEN"].contains(&name) {
        // Of a client's.
        return true;
    }
    let named = NAMED
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, key)| (*key).to_owned());
    named
        .or_else(|| key_of(name))
        .is_some_and(|key| SECRET_KEYS.contains(&key.as_str()) || key.starts_with("auth."))
}
