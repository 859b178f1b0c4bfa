//! Plugins as the rest of the gateway sees them: the manifest, one immutable [`PluginSet`], what a
//! call decided, and the log of decisions.
//!
//! `manifest` reads what the operator wrote, `load` makes [`LoadedPlugin`]s of it or of a revision in
//! the bucket, `set` asks them, `answer` says what their answers mean. What a plugin may see is in
//! `view`, what it may reach in `grants`, `workspace`, `artifacts`, `git`, `http` and `notes`.
//!
//! Knows nothing of serving HTTP and nothing of wasmtime (`wasm/` does); what plugins send is judged here
//! and carried by `outbound/`, what they push by `git/`. A task is pinned to one revision of
//! the set; the job loads that revision from the bucket by digest.

mod answer;
mod artifacts;
mod decision;
mod failure;
mod git;
mod grants;
mod http;
mod limits;
mod load;
mod loaded;
mod manifest;
#[cfg(test)]
mod memory_bucket;
mod notes;
mod path;
mod search;
mod set;
mod verdict;
mod view;
mod workspace;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::config::{self, Config};
use crate::wasm::{Cache, Engine, EngineError};
use load::{Loader, SetPin};
use loaded::LoadedPlugin;
use manifest::Entry;

pub use artifacts::{Artifacts, Stored};
pub use decision::{Decision, DecisionLog};
pub use failure::Failure;
pub use git::{
    Change, Cloned, Commit, Committed, GitRepository, OnConflict, Push, Pushed, Recovery,
};
pub use grants::Grants;
pub(crate) use http::Wanted;
pub use http::{Http, HttpClient, HttpRequest, HttpResponse};
pub use notes::{Notes, TaskState};
pub use set::PluginSet;
pub use verdict::{
    Action, ActionRun, ActionWhen, Capabilities, OptionsRefused, Rejection, Ruling, StandingAction,
    Validation, Verdict,
};
pub use view::{OutcomeView, TaskView, ToolCall};
pub use workspace::{Found, Workspace};

/// Why no set could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The manifest cannot be read or says something impossible.
    #[error("{0}")]
    Manifest(String),
    /// A plugin cannot be loaded.
    #[error("plugin `{plugin}`: {message}")]
    Load {
        /// Its name in the manifest.
        plugin: String,
        /// Stable, e.g. `plugin-not-a-component`.
        code: &'static str,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// The pinned set or one of its components is not in the bucket.
    #[error("plugin set `{0}` is not in the bucket")]
    Missing(String),
    /// There is nothing to run plugins in.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The storage failed.
    #[error(transparent)]
    Bucket(#[from] crate::bucket::BucketError),
}

/// The gateway's plugins: the active set, and what became of the last attempt to load one.
#[derive(Debug)]
pub struct Plugins {
    active: Option<Arc<PluginSet>>,
    attempt: Attempt,
}

/// What became of loading the manifest.
#[derive(Debug, Default)]
struct Attempt {
    plugins: Vec<Slot>,
    /// Why its set is not active.
    error: Option<String>,
}

/// One plugin of the manifest.
#[derive(Debug)]
enum Slot {
    Loaded(Arc<LoadedPlugin>),
    Failed {
        name: String,
        entry: Option<Box<Entry>>,
        code: &'static str,
        message: String,
    },
}

impl Plugins {
    /// Loads the manifest's set whole and aside; keeps components and set in the bucket. A set that
    /// cannot be loaded leaves none active, which [`Plugins::status`] explains: nothing is admitted.
    pub async fn load(config: &Config, bucket: Arc<dyn Bucket>) -> Self {
        Self::load_from(&config.plugins, &config.outbound, &config.data_dir, bucket).await
    }

    async fn load_from(
        settings: &config::Plugins,
        outbound: &config::Outbound,
        data_dir: &Path,
        bucket: Arc<dyn Bucket>,
    ) -> Self {
        let (plugins, set) = match attempt(settings, outbound, data_dir, bucket).await {
            Ok((plugins, set)) => (plugins, set),
            Err(error) => (Vec::new(), Err(error.to_string())),
        };
        let (active, error) = match set {
            Ok(set) => {
                tracing::info!(
                    revision = set.revision(),
                    plugins = plugins.len(),
                    "plugins are active"
                );
                (Some(Arc::new(set)), None)
            }
            Err(error) => {
                tracing::error!(error, "no plugin set is active: no task is admitted");
                (None, Some(error))
            }
        };
        Self {
            active,
            attempt: Attempt { plugins, error },
        }
    }

    /// The set that new tasks are pinned to.
    pub fn active(&self) -> Option<Arc<PluginSet>> {
        self.active.clone()
    }

    /// The body of `GET /plugins`: `{"revision", "error"?, "plugins":[{name, world, mode, onError,
    /// state, digest, settings, grants, limits, always, version, summary, calls, denials, traps, since}]}`.
    /// `state` is `active`, `loaded` (fine, but the set has another mistake) or `failed`, then with
    /// `code` and `error`.
    pub fn status(&self) -> Value {
        let active = self.active();
        let state = if active.is_some() { "active" } else { "loaded" };
        let line = |slot: &Slot| match slot {
            Slot::Loaded(plugin) => plugin.status(state),
            Slot::Failed {
                name,
                entry,
                code,
                message,
            } => loaded::failed_status(name, entry.as_deref(), code, message),
        };
        let plugins: Vec<Value> = self.attempt.plugins.iter().map(line).collect();
        let revision = active.as_ref().map(|set| set.revision());
        let mut status = json!({ "revision": revision, "plugins": plugins });
        if let (Some(error), Some(status)) = (&self.attempt.error, status.as_object_mut()) {
            status.insert("error".to_owned(), json!(error));
        }
        status
    }

    /// The error that kept the manifest's set from becoming active.
    pub fn last_error(&self) -> Option<String> {
        self.attempt.error.clone()
    }
}

impl Loader {
    fn new(
        settings: &config::Plugins,
        data_dir: &Path,
        bucket: Arc<dyn Bucket>,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            engine: Engine::new(settings.max_instances)?,
            cache: Cache::open(data_dir),
            bucket,
            max_component_size: settings.max_component_size,
        })
    }
}

/// Every plugin of the manifest, and the set where all of them can be used.
async fn attempt(
    settings: &config::Plugins,
    outbound: &config::Outbound,
    data_dir: &Path,
    bucket: Arc<dyn Bucket>,
) -> Result<(Vec<Slot>, Result<PluginSet, String>), PluginError> {
    let entries =
        manifest::read(&settings.manifest, settings, outbound).map_err(PluginError::Manifest)?;
    let loader = Loader::new(settings, data_dir, bucket)?;
    let mut slots = Vec::new();
    for (name, entry) in entries {
        let slot = match entry {
            Ok(entry) => load_one(&loader, entry).await,
            Err(error) => Slot::Failed {
                name,
                entry: None,
                code: error.code,
                message: error.message,
            },
        };
        slots.push(slot);
    }
    let set = activate(&loader, &slots).await;
    Ok((slots, set))
}

async fn load_one(loader: &Loader, entry: Entry) -> Slot {
    match loader.load_file(&entry).await {
        Ok(plugin) => Slot::Loaded(Arc::new(plugin)),
        Err(error) => {
            let (code, message) = match error {
                PluginError::Load { code, message, .. } => (code, message),
                other => ("plugin-storage", other.to_string()),
            };
            let name = entry.name.clone();
            Slot::Failed {
                name,
                entry: Some(Box::new(entry)),
                code,
                message,
            }
        }
    }
}

/// Makes the set of the slots and keeps it, or says what is wrong with each that failed.
async fn activate(loader: &Loader, slots: &[Slot]) -> Result<PluginSet, String> {
    let mut plugins = Vec::new();
    let mut mistakes = Vec::new();
    for slot in slots {
        match slot {
            Slot::Loaded(plugin) => plugins.push(plugin.clone()),
            Slot::Failed { name, message, .. } => {
                mistakes.push(format!("plugin `{name}`: {message}"));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes.join("\n"));
    }
    let pins = SetPin {
        plugins: plugins.iter().map(|plugin| plugin.pin.clone()).collect(),
    };
    let (text, revision) = pins.canonical().map_err(|error| error.to_string())?;
    loader
        .publish(text, &revision)
        .await
        .map_err(|error| error.to_string())?;
    Ok(PluginSet::new(revision, plugins))
}

/// The defaults of `config.default.toml`, for this part's tests.
#[cfg(test)]
fn test_settings(manifest: &Path) -> config::Plugins {
    config::Plugins {
        manifest: manifest.to_owned(),
        memory: 64 << 20,
        time: std::time::Duration::from_millis(200),
        output: 1 << 20,
        max_component_size: 64 << 20,
        max_instances: 4,
        max_decisions: 100,
    }
}

/// As it is embedded.
#[cfg(test)]
fn test_outbound() -> config::Outbound {
    config::Outbound {
        private_addresses: config::PrivateAddresses::Loopback,
        allow_http: true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::plugin::memory_bucket::MemoryBucket;

    async fn load(manifest: &str, files: &[(&str, &[u8])]) -> (Arc<MemoryBucket>, Plugins) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.toml");
        std::fs::write(&path, manifest).unwrap();
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let bucket = Arc::new(MemoryBucket::default());
        let settings = test_settings(&path);
        let plugins = Plugins::load_from(
            &settings,
            &test_outbound(),
            directory.path(),
            bucket.clone(),
        )
        .await;
        (bucket, plugins)
    }

    #[tokio::test]
    async fn a_manifest_without_plugins_is_active_and_kept() {
        let (bucket, plugins) = load("# no plugins", &[]).await;
        let set = plugins.active().unwrap();
        assert_eq!(set.validators(), 0);
        assert_eq!(plugins.last_error(), None);
        let name = format!("plugins/sets/{}.json", set.revision());
        assert_eq!(bucket.content(&name).unwrap(), r#"{"plugins":[]}"#);
        let active: Value =
            serde_json::from_str(&bucket.content("plugins/active.json").unwrap()).unwrap();
        assert_eq!(active["revision"], set.revision());
    }

    #[tokio::test]
    async fn every_mistake_is_shown_at_its_plugin_and_nothing_becomes_active() {
        let entry = |name: &str, more: &str| {
            format!("[[plugin]]\nname = \"{name}\"\nworld = \"validator\"\n{more}\n")
        };
        let manifest = [
            entry("absent", "source = \"absent.wasm\""),
            entry("core", "source = \"core.wasm\""),
            entry("greedy", "source = \"core.wasm\"\ngrants = [\"workspace\"]"),
            entry(
                "pinned",
                &format!("source = \"core.wasm\"\nsha256 = \"{}\"", "0".repeat(64)),
            ),
        ];
        let (bucket, plugins) =
            load(&manifest.concat(), &[("core.wasm", b"\0asm\x01\0\0\0")]).await;
        assert!(plugins.active().is_none());
        let status = plugins.status();
        assert_eq!(status["revision"], Value::Null);
        let codes: Vec<_> = status["plugins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| &line["code"])
            .collect();
        let expected = [
            "plugin-not-found",
            "plugin-core-module",
            "plugin-manifest",
            "plugin-digest-mismatch",
        ];
        assert_eq!(codes, expected);
        assert_eq!(plugins.last_error().unwrap().lines().count(), 4);
        assert!(bucket.names().is_empty());
    }

    #[tokio::test]
    async fn a_component_above_the_limit_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.toml");
        let entry = "[[plugin]]\nname = \"a\"\nworld = \"validator\"\nsource = \"a.wasm\"\n";
        std::fs::write(&path, entry).unwrap();
        std::fs::write(directory.path().join("a.wasm"), [0; 11]).unwrap();
        let settings = config::Plugins {
            max_component_size: 10,
            ..test_settings(&path)
        };
        let bucket = Arc::new(MemoryBucket::default());
        let plugins =
            Plugins::load_from(&settings, &test_outbound(), directory.path(), bucket).await;
        assert_eq!(plugins.status()["plugins"][0]["code"], "plugin-too-large");
    }

    #[tokio::test]
    async fn a_revision_that_is_absent_or_was_tampered_with_is_not_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let (bucket, plugins) = load("# none", &[]).await;
        let revision = plugins.active().unwrap().revision().to_owned();
        let settings = test_settings(Path::new("unused"));
        let loader = Loader::new(&settings, directory.path(), bucket.clone()).unwrap();
        assert!(loader.load_pinned(&revision).await.unwrap().is_empty());
        for absent in ["0123456789abcdef", "../../etc/passwd", ""] {
            let error = loader.load_pinned(absent).await.unwrap_err();
            assert!(matches!(error, PluginError::Missing(_)), "{absent}");
        }
        let name = format!("plugins/sets/{revision}.json");
        bucket
            .append(&name, bytes::Bytes::from_static(b" "))
            .await
            .unwrap();
        let error = loader.load_pinned(&revision).await.unwrap_err();
        assert!(matches!(error, PluginError::Manifest(_)));
    }

    #[tokio::test]
    async fn without_policies_the_agents_own_rules_decide() {
        let (_bucket, plugins) = load("# none", &[]).await;
        let set = plugins.active().unwrap();
        let task = TaskView::new(
            "t".parse().unwrap(),
            crate::task::Mode::Sync,
            "anonymous",
            jiff::Timestamp::UNIX_EPOCH,
            &serde_json::Map::new(),
        );
        let call = ToolCall {
            id: "1".into(),
            tool: "Bash".into(),
            input: json!({"command": "ls"}),
            workspace: "/w".into(),
            cwd: "/w".into(),
            subagent: None,
            mcp_server: None,
            index: 0,
        };
        let ruling = set
            .decide(
                &Arc::new(task),
                call,
                &TaskState::default(),
                std::time::Duration::from_secs(1),
            )
            .await;
        assert_eq!(ruling.verdict, Verdict::Abstain);
        let refused = set.check_options("git", &json!({})).await;
        assert_eq!(refused, Err(OptionsRefused::Unknown(Vec::new())));
    }
}
