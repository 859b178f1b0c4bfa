//! One type per section. `config.default.toml` documents every field; the units here decide what a
//! value may be.
#![expect(missing_docs, reason = "config.default.toml documents each field")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::{auth, keys, units};
use crate::plugin::PublicKey;

/// `outbound.private_addresses`: which addresses besides public ones callers may make us dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrivateAddresses {
    /// Public addresses only.
    Deny,
    /// Public addresses and 127.0.0.0/8, ::1.
    Loopback,
    /// Any address.
    Allow,
}

/// `log.format`, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line, with the fields that Cloud Logging reads.
    Json,
}

/// `[server]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    #[serde(deserialize_with = "units::address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "units::optional")]
    pub user: Option<String>,
    #[serde(deserialize_with = "units::bytes")]
    pub body_limit: u64,
    #[serde(deserialize_with = "units::duration")]
    pub header_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub body_timeout: Duration,
    #[serde(deserialize_with = "units::count")]
    pub max_connections: u32,
    #[serde(deserialize_with = "units::duration")]
    pub heartbeat: Duration,
    #[serde(deserialize_with = "units::duration_or_zero")]
    pub disconnect_grace: Duration,
    #[serde(deserialize_with = "units::duration_or_zero")]
    pub shutdown_grace: Duration,
}

/// `[auth]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    #[serde(deserialize_with = "units::secrets")]
    pub api_keys: Vec<SecretString>,
    #[serde(deserialize_with = "units::optional_secret")]
    pub admin_key: Option<SecretString>,
    #[serde(deserialize_with = "auth::digests")]
    pub admin_sha256: Vec<KeyDigest>,
    #[serde(deserialize_with = "auth::named_keys")]
    pub keys: BTreeMap<String, NamedKey>,
    pub oidc: Oidc,
    pub limits: Limits,
}

/// SHA-256 of a key.
pub type KeyDigest = [u8; 32];

/// One of `auth.keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// Of each key that counts now.
    pub sha256: Vec<KeyDigest>,
    /// Empty: the default one.
    pub tenant: String,
}

/// `[auth.oidc]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    #[serde(deserialize_with = "units::optional")]
    pub issuer: Option<String>,
    #[serde(deserialize_with = "units::words")]
    pub audience: Vec<String>,
    #[serde(deserialize_with = "units::optional_url")]
    pub jwks_url: Option<url::Url>,
    pub caller_claim: String,
    #[serde(deserialize_with = "units::optional")]
    pub tenant_claim: Option<String>,
    #[serde(deserialize_with = "auth::claims")]
    pub require: BTreeMap<String, Vec<String>>,
}

/// `[auth.limits]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    #[serde(deserialize_with = "units::count_or_zero")]
    pub requests_per_minute: u32,
    #[serde(deserialize_with = "units::count_or_zero")]
    pub tasks_per_minute: u32,
    #[serde(deserialize_with = "units::count_or_zero")]
    pub unfinished_per_caller: u32,
    #[serde(deserialize_with = "units::count_or_zero")]
    pub unfinished_per_tenant: u32,
    #[serde(deserialize_with = "units::count_or_zero")]
    pub streams_per_caller: u32,
    #[serde(deserialize_with = "units::count_or_zero")]
    pub failures_per_minute: u32,
    #[serde(deserialize_with = "auth::proxies")]
    pub proxies: usize,
}

/// `[storage]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    #[serde(deserialize_with = "units::optional")]
    pub logs_bucket: Option<String>,
}

/// `[google]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Google {
    pub project_id: String,
    pub region: String,
    pub kms_key_ring: String,
    pub kms_key_name: String,
    pub kms_location: String,
    pub job_name: String,
    #[serde(deserialize_with = "units::duration")]
    pub secrets_age: Duration,
    #[serde(deserialize_with = "units::optional_url")]
    pub endpoint: Option<url::Url>,
}

/// `envelope.keys`, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// A file.
    Local,
    /// Cloud KMS.
    CloudKms,
}

/// `job.launcher`, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Launcher {
    /// Sub-processes.
    Local,
    /// Executions of a Cloud Run job.
    CloudRun,
}

/// `[envelope]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    pub keys: Keys,
    pub local_key: PathBuf,
    pub accept: Vec<String>,
    #[serde(deserialize_with = "units::bytes")]
    pub max_size: u64,
}

/// `[queue]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    #[serde(deserialize_with = "units::count")]
    pub max_concurrent: u32,
    #[serde(deserialize_with = "units::count_or_zero")]
    pub max_waiting: u32,
}

/// `[task]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    #[serde(deserialize_with = "units::count")]
    pub max_turns: u32,
    #[serde(deserialize_with = "units::count")]
    pub timeout_minutes: u32,
    #[serde(deserialize_with = "units::words")]
    pub allowed_tools: Vec<String>,
    pub permission_mode: crate::admission::PermissionMode,
    #[serde(deserialize_with = "units::optional")]
    pub model: Option<String>,
    #[serde(deserialize_with = "units::optional_path")]
    pub system_prompt_file: Option<PathBuf>,
    #[serde(deserialize_with = "units::optional_path")]
    pub append_system_prompt_file: Option<PathBuf>,
    #[serde(deserialize_with = "units::count")]
    pub max_turns_limit: u32,
    #[serde(deserialize_with = "units::count")]
    pub timeout_minutes_limit: u32,
}

/// `[git]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Git {
    #[serde(deserialize_with = "units::optional_path")]
    pub known_hosts: Option<PathBuf>,
    pub accept_unknown_hosts: bool,
    #[serde(deserialize_with = "units::optional_path")]
    pub ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "units::duration")]
    pub clone_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub push_timeout: Duration,
    #[serde(deserialize_with = "units::bytes")]
    pub max_clone_size: u64,
    #[serde(deserialize_with = "units::bytes")]
    pub max_push_size: u64,
    #[serde(deserialize_with = "units::bytes")]
    pub max_lfs_size: u64,
}

/// `[job]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub launcher: Launcher,
    #[serde(deserialize_with = "units::optional_path")]
    pub work_dir: Option<PathBuf>,
    #[serde(deserialize_with = "units::duration")]
    pub lease: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub heartbeat: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub pre_command_timeout: Duration,
    #[serde(deserialize_with = "units::duration_or_zero")]
    pub cancel_grace: Duration,
    #[serde(deserialize_with = "units::duration_or_zero")]
    pub flush_interval: Duration,
    #[serde(deserialize_with = "units::bytes")]
    pub flush_size: u64,
    #[serde(deserialize_with = "units::bytes")]
    pub max_log_size: u64,
    #[serde(deserialize_with = "units::bytes")]
    pub max_artifact_size: u64,
    #[serde(deserialize_with = "units::count")]
    pub max_artifacts: u32,
}

/// `[agent]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    #[serde(deserialize_with = "units::optional_path")]
    pub claude_bin: Option<PathBuf>,
    #[serde(deserialize_with = "units::duration")]
    pub first_event_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub idle_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub after_result_timeout: Duration,
    #[serde(deserialize_with = "units::duration_or_zero")]
    pub term_grace: Duration,
    #[serde(deserialize_with = "units::bytes")]
    pub max_line: u64,
    #[serde(deserialize_with = "units::duration")]
    pub decision_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub mcp_start_timeout: Duration,
}

/// `[broker]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    #[serde(deserialize_with = "units::url")]
    pub upstream: url::Url,
    pub extra_paths: Vec<String>,
    pub allowed_models: Vec<String>,
    #[serde(deserialize_with = "units::count_or_zero")]
    pub max_tokens_per_request: u32,
    #[serde(deserialize_with = "units::count_or_zero")]
    pub max_requests: u32,
    #[serde(deserialize_with = "units::count_or_zero")]
    pub max_output_tokens: u32,
    #[serde(deserialize_with = "units::bytes")]
    pub max_body: u64,
    #[serde(deserialize_with = "units::count")]
    pub max_concurrent: u32,
    #[serde(deserialize_with = "units::duration")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub read_timeout: Duration,
}

/// `[isolation]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isolation {
    pub minimum: crate::isolation::Level,
    #[serde(deserialize_with = "units::count")]
    pub uid_base: u32,
    #[serde(deserialize_with = "units::count")]
    pub uid_count: u32,
    #[serde(deserialize_with = "units::optional")]
    pub account: Option<String>,
    #[serde(deserialize_with = "units::count")]
    pub max_processes: u32,
    #[serde(deserialize_with = "units::count")]
    pub max_open_files: u32,
    #[serde(deserialize_with = "units::bytes")]
    pub max_file_size: u64,
}

/// `[plugins]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugins {
    pub manifest: PathBuf,
    #[serde(deserialize_with = "units::optional_path")]
    pub compiled: Option<PathBuf>,
    #[serde(deserialize_with = "units::bytes")]
    pub memory: u64,
    #[serde(deserialize_with = "units::duration")]
    pub time: Duration,
    #[serde(deserialize_with = "units::bytes")]
    pub output: u64,
    #[serde(deserialize_with = "units::bytes")]
    pub max_component_size: u64,
    #[serde(deserialize_with = "units::bytes")]
    pub compile_memory: u64,
    #[serde(deserialize_with = "units::duration")]
    pub compile_time: Duration,
    #[serde(deserialize_with = "units::count")]
    pub max_instances: u32,
    #[serde(deserialize_with = "units::count")]
    pub max_decisions: u32,
    pub keep_inputs: bool,
    #[serde(deserialize_with = "units::bytes")]
    pub max_inputs: u64,
    #[serde(deserialize_with = "units::duration")]
    pub inputs_expire: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub keep_sets: Duration,
    /// By host, with the port where it has one.
    #[serde(deserialize_with = "units::registries")]
    pub registries: Registries,
    pub signatures: Signatures,
}

/// `plugins.registries`, by host, with the port where it has one.
pub type Registries = BTreeMap<String, Registry>;

/// An entry of `plugins.registries`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    pub username: Option<String>,
    #[serde(deserialize_with = "units::optional_secret")]
    pub password: Option<SecretString>,
    pub plain_http: bool,
}

/// `[plugins.signatures]` of `config.default.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    #[serde(deserialize_with = "keys::public_keys")]
    pub keys: BTreeMap<String, PublicKey>,
    #[serde(deserialize_with = "units::words")]
    pub all_of: Vec<String>,
    #[serde(deserialize_with = "keys::any_of")]
    pub any_of: Option<AnyOf>,
}

/// `plugins.signatures.any_of`: so many of these.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnyOf {
    #[serde(deserialize_with = "units::count")]
    pub minimum: u32,
    pub keys: Vec<String>,
}

/// `[approvals]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
    #[serde(deserialize_with = "units::count")]
    pub max_pending: u32,
    #[serde(deserialize_with = "units::bytes")]
    pub max_input: u64,
}

/// `[webhook]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    #[serde(deserialize_with = "units::secrets")]
    pub secret: Vec<SecretString>,
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
    #[serde(deserialize_with = "units::durations")]
    pub retry: Vec<Duration>,
    #[serde(deserialize_with = "units::count")]
    pub max_concurrent: u32,
    #[serde(deserialize_with = "units::duration")]
    pub dead_kept: Duration,
    #[serde(deserialize_with = "units::count")]
    pub max_dead: u32,
}

/// `[outbound]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbound {
    pub private_addresses: PrivateAddresses,
    pub allow_http: bool,
}

/// `[log]` of `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}
