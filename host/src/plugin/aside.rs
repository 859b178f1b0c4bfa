//! A configuration's manifest, loaded as its gateway would and made active nowhere: by the same loader, with
//! the same limits, signatures and lock file. For operators, before a gateway reads it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tempfile::TempDir;

use super::PluginError;
use super::attempt::Candidate;
use super::load::Loader;
use super::lock::{self, Lock};
use crate::bucket::directory::DirectoryBucket;
use crate::config::{self, Config};
use crate::wasm::Compiler;

/// A manifest that is only looked at.
#[derive(Debug)]
pub struct Aside {
    settings: config::Plugins,
    outbound: config::Outbound,
    loader: Loader,
    /// Where there is no gateway's data directory; gone afterwards.
    _scratch: Option<TempDir>,
}

/// One plugin of a manifest that was loaded aside.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Its name in the manifest.
    pub name: String,
    /// SHA-256 of its component; none where it cannot be loaded.
    pub digest: Option<String>,
    /// Whether the manifest states the digest.
    pub pinned: bool,
    /// Whether the lock file has it from this source.
    pub locked: bool,
    /// Names of the keys that signed the component.
    pub signed_by: Vec<String>,
    /// Grants that it cannot do without.
    pub asks: Vec<String>,
    /// Grants that it is given.
    pub grants: Vec<String>,
    /// Why it cannot be loaded; stable, e.g. `plugin-unsigned`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What is wrong and how to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A lock file and what it should say.
#[derive(Debug)]
pub struct Locking {
    /// Where it lies or shall lie.
    pub path: PathBuf,
    /// A line for each plugin of which it says something else; empty where it is as it should be.
    pub changes: Vec<String>,
    new: Lock,
}

impl Aside {
    /// What the gateway's bucket has is not fetched again, but nothing is added to it.
    pub fn open(config: &Config) -> Result<Self, PluginError> {
        let failed = |error: std::io::Error| {
            PluginError::Manifest(format!("nothing can be loaded aside: {error}"))
        };
        // A command must not make what a gateway will make, perhaps as another user.
        let (scratch, directory) = match config.data_dir.join("bucket").is_dir() {
            true => (None, config.data_dir.clone()),
            false => {
                let scratch = tempfile::tempdir().map_err(failed)?;
                let directory = scratch.path().to_owned();
                (Some(scratch), directory)
            }
        };
        let bucket = DirectoryBucket::open(directory.join("bucket")).map_err(failed)?;
        let compiler = Compiler::apart(&config.plugins);
        let loader = Loader::new(&config.plugins, &directory, compiler, Arc::new(bucket))?
            .fetching(&config.plugins, &config.outbound)
            .requiring(&config.plugins.signatures)
            .aside();
        Ok(Self {
            settings: config.plugins.clone(),
            outbound: config.outbound.clone(),
            loader,
            _scratch: scratch,
        })
    }

    /// The manifest that is looked at.
    pub fn manifest(&self) -> &Path {
        &self.settings.manifest
    }

    /// Each plugin of the manifest.
    ///
    /// # Errors
    /// What keeps the manifest from being read at all.
    pub async fn check(&self) -> Result<Vec<Checked>, String> {
        let lock = Lock::read(&lock::beside(&self.settings.manifest));
        let Candidate { attempt, set, .. } = self.load(lock).await;
        let plugins = attempt.checked();
        match set {
            Err(error) if plugins.iter().all(|plugin| plugin.error.is_none()) => Err(error),
            _ => Ok(plugins),
        }
    }

    /// What the lock file should say, whatever it says.
    ///
    /// # Errors
    /// A line for each plugin that cannot be loaded.
    pub async fn lock(&self) -> Result<Locking, String> {
        let Candidate { attempt, set, .. } = self.load(Ok(None)).await;
        set?;
        let path = lock::beside(&self.settings.manifest);
        let new = attempt.lock();
        // One that is broken is replaced like one that is old.
        let changes = match Lock::read(&path) {
            Ok(Some(old)) => old.changes(&new),
            Ok(None) => vec![format!("there is no `{}`", path.display())],
            Err(error) => vec![error],
        };
        Ok(Locking { path, changes, new })
    }

    async fn load(&self, lock: Result<Option<Lock>, String>) -> Candidate {
        Candidate::locked_by(lock, &self.loader, &self.settings, &self.outbound, &[]).await
    }
}

impl Locking {
    /// Writes it, at once and whole.
    pub fn write(&self) -> std::io::Result<()> {
        self.new.write(&self.path)
    }
}
