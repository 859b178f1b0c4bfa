//! The secrets of the settings: read at the start, all of them or none, and looked at again while the
//! gateway runs.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};

use super::{SecretManager, Unreadable};
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
    /// Of them, those that nobody is to read any more.
    withdrawn: BTreeSet<SecretName>,
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
        let filled = config.with_secrets(&read, &BTreeSet::new())?;
        let written = std::mem::replace(config, filled);
        Ok(Self {
            manager,
            written,
            read,
            withdrawn: BTreeSet::new(),
        })
    }

    /// Looks every `google.secrets_age` at those of callers and of webhooks, and tells `changed` the settings
    /// with what they hold now. Keys that were withdrawn count no more; what else cannot be read or used
    /// leaves what was there. Ends at once where none can change.
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
            if let Some(config) = self.look_again(&watched).await {
                tracing::info!("secrets of the settings have changed and count from now on");
                changed(&config);
            }
        }
    }

    /// The settings, where something in them is another now.
    async fn look_again(&mut self, watched: &BTreeSet<SecretName>) -> Option<Config> {
        let mut new = BTreeMap::new();
        let mut config = None;
        for name in watched {
            match self.manager.read(name).await {
                Ok(value) if self.holds(name, &value) => {}
                Ok(value) => drop(new.insert(name.clone(), value)),
                Err(Unreadable::Withdrawn(why)) => {
                    if self.withdrawn.insert(name.clone()) {
                        tracing::error!(why, "a secret was withdrawn; keys in it count no more");
                        config = self.written.with_secrets(&self.read, &self.withdrawn).ok();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a secret cannot be read again; what it held still counts");
                }
            }
        }
        if new.is_empty() {
            return config;
        }
        if let Ok(all) = self.take(&new) {
            return Some(all);
        }
        // One that is of no use must not keep out the others.
        for (name, value) in new {
            match self.take(&BTreeMap::from([(name, value)])) {
                Ok(with_it) => config = Some(with_it),
                Err(error) => {
                    tracing::error!(%error, "what a secret holds now cannot be used; what it held still counts");
                }
            }
        }
        config
    }

    fn holds(&self, name: &SecretName, value: &SecretString) -> bool {
        let before = self.read.get(name);
        !self.withdrawn.contains(name)
            && before.is_some_and(|before| before.expose_secret() == value.expose_secret())
    }

    /// The settings with these; they count from now on, unless they are of no use.
    fn take(&mut self, new: &BTreeMap<SecretName, SecretString>) -> Result<Config, Mistakes> {
        let (mut read, mut withdrawn) = (self.read.clone(), self.withdrawn.clone());
        for (name, value) in new {
            read.insert(name.clone(), value.clone());
            withdrawn.remove(name);
        }
        let config = self.written.with_secrets(&read, &withdrawn)?;
        (self.read, self.withdrawn) = (read, withdrawn);
        Ok(config)
    }
}
