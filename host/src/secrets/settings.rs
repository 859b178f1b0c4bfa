//! The secrets of the settings: read at the start, all of them or none, and looked at again while the
//! gateway runs.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};

use super::SecretManager;
use crate::config::{Config, Mistakes, SecretName};

/// Secrets that are asked for at once.
const AT_ONCE: usize = 8;
const REGISTRIES: &str = "plugins.registries";

/// The settings as they were written, and what was read for them.
#[derive(Debug)]
pub struct SecretSettings {
    manager: SecretManager,
    written: Config,
    read: BTreeMap<SecretName, SecretString>,
}

impl SecretSettings {
    /// Fills in what `config` names. What cannot be read, and what cannot be used once it is read, is listed
    /// as a whole; then `config` is as it was.
    pub async fn fill(config: &mut Config) -> Result<Self, Mistakes> {
        Self::fill_those(config, |_| true).await
    }

    /// The same for the passwords of registries alone: whoever ships plugins has no use for the others.
    pub async fn fill_passwords(config: &mut Config) -> Result<(), Mistakes> {
        Self::fill_those(config, |key| key == REGISTRIES)
            .await
            .map(drop)
    }

    async fn fill_those(config: &mut Config, wanted: fn(&str) -> bool) -> Result<Self, Mistakes> {
        let manager = SecretManager::new(&config.google);
        let mut names: BTreeMap<SecretName, BTreeSet<&'static str>> = BTreeMap::new();
        for (key, secret) in config.secrets().into_iter().filter(|(key, _)| wanted(key)) {
            if let Some(Ok(name)) = config.secret_name(secret.expose_secret()) {
                names.entry(name).or_default().insert(key);
            }
        }
        let asked = names.into_iter().map(|(name, keys)| {
            let manager = &manager;
            async move { (manager.read(&name).await, name, keys) }
        });
        let mut answers = futures::stream::iter(asked).buffered(AT_ONCE);
        let (mut read, mut mistakes) = (BTreeMap::new(), Vec::new());
        while let Some((answer, name, keys)) = answers.next().await {
            match answer {
                Ok(value) => drop(read.insert(name, value)),
                Err(error) => mistakes.extend(keys.iter().map(|key| format!("`{key}`: {error}"))),
            }
        }
        drop(answers);
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        let filled = config.with_secrets(&read)?;
        let written = std::mem::replace(config, filled);
        Ok(Self {
            manager,
            written,
            read,
        })
    }

    /// Looks every `google.secrets_age` at those of callers and of webhooks, and tells `changed` the settings
    /// with what they hold now. What cannot be read or used changes nothing: a gateway goes on with what it
    /// had. Ends at once where none can change.
    pub async fn keep_current(mut self, changed: impl Fn(&Config)) {
        let watched: BTreeSet<SecretName> = self
            .written
            .secrets()
            .into_iter()
            // The passwords of registries are read where plugins are loaded, with the settings of the start.
            .filter(|(key, _)| *key != REGISTRIES)
            .filter_map(|(_, secret)| self.written.secret_name(secret.expose_secret())?.ok())
            .filter(SecretName::may_change)
            .collect();
        while !watched.is_empty() {
            tokio::time::sleep(self.written.google.secrets_age).await;
            let now = self.read_again(&watched).await;
            let same = |(name, value): (&SecretName, &SecretString)| {
                self.read
                    .get(name)
                    .is_some_and(|before| before.expose_secret() == value.expose_secret())
            };
            if now.iter().all(same) {
                continue;
            }
            match self.written.with_secrets(&now) {
                Ok(config) => {
                    tracing::info!("secrets of the settings have changed and count from now on");
                    self.read = now;
                    changed(&config);
                }
                Err(error) => {
                    tracing::error!(%error, "what secrets hold now cannot be used; the ones before still count");
                }
            }
        }
    }

    /// What they hold now, or held when they could be read.
    async fn read_again(
        &self,
        watched: &BTreeSet<SecretName>,
    ) -> BTreeMap<SecretName, SecretString> {
        let mut now = self.read.clone();
        for name in watched {
            match self.manager.read(name).await {
                Ok(value) => drop(now.insert(name.clone(), value)),
                Err(error) => {
                    tracing::warn!(%error, "a secret cannot be read again; what it held still counts");
                }
            }
        }
        now
    }
}
