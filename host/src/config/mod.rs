//! The settings: `config.default.toml`, a file over it, the environment over that, flags over all.
//!
//! The default file says which keys exist, the types in [`sections`] what each may hold, `validate`
//! how they must agree. [`load`] checks them as a whole and lists every mistake at once, before
//! anything is started. Nothing else in the crate reads the process's environment, and [`load`] reads
//! the one it is handed. Holds no state.

mod auth;
mod derive;
mod keys;
mod load;
mod merge;
mod nearest;
mod provenance;
mod secret_name;
mod secret_values;
mod sections;
mod units;
mod validate;
mod variables;

use std::path::PathBuf;

use serde::Deserialize;

pub(crate) use auth::{caller_name, is_tenant};
pub use load::{Mistakes, Setting, Sources, load, settings};
pub(crate) use nearest::nearest;
pub use provenance::Origin;
pub use secret_name::SecretName;
pub use sections::*;
pub use variables::job_environment;

/// All settings in force. Field by field they are documented in `config.default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Made absolute when loaded.
    pub data_dir: PathBuf,
    /// `[server]`
    pub server: Server,
    /// `[auth]`
    pub auth: Auth,
    /// `[storage]`
    pub storage: Storage,
    /// `[google]`
    pub google: Google,
    /// `[envelope]`
    pub envelope: Envelope,
    /// `[queue]`
    pub queue: Queue,
    /// `[task]`
    pub task: Task,
    /// `[git]`
    pub git: Git,
    /// `[job]`
    pub job: Job,
    /// `[agent]`
    pub agent: Agent,
    /// `[broker]`
    pub broker: Broker,
    /// `[isolation]`
    pub isolation: Isolation,
    /// `[plugins]`
    pub plugins: Plugins,
    /// `[approvals]`
    pub approvals: Approvals,
    /// `[webhook]`
    pub webhook: Webhook,
    /// `[outbound]`
    pub outbound: Outbound,
    /// `[log]`
    pub log: Log,
    /// Dotted key to where its value came from; for `gatehouse config`.
    #[serde(skip)]
    pub origins: std::collections::BTreeMap<String, Origin>,
}
