//! Loading: from a manifest and files, or from the bucket by revision. A set is loaded whole and
//! aside; nothing here changes what is active.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use super::answer::bounded;
use super::counters::Counters;
use super::group::{Group, GroupPin};
use super::live::same_of;
use super::loaded::{LoadedPlugin, Pin};
use super::manifest::Entry;
use super::modes::Modes;
use super::obtain::UNREACHABLE;
use super::source::{self, Fetched, Source};
use super::{Grants, PluginError, PluginSet, StandingAction, artifact_memory};
use crate::bucket::{Bucket, BucketError, Durability, When};
use crate::config;
use crate::outbound::ForPlugins;
use crate::wasm::{
    Cache, Call, CallOutcome, Compiler, Component, Description, Engine, EngineError, LoadError,
    Shape, Terms,
};

/// Bytes of what a plugin says about its settings.
const WORDS: usize = 2048;
/// Errors of a settings check that are told at once.
const MISTAKES: usize = 5;

/// What is needed to load a plugin.
#[derive(Debug)]
pub(super) struct Loader {
    engine: Engine,
    cache: Cache,
    pub(super) bucket: Arc<dyn Bucket>,
    pub(super) max_component_size: u64,
    /// For so long an object counts as just written.
    fresh: SignedDuration,
    /// By what sources are fetched; a job loads from the bucket only.
    pub(super) sources: Option<Sources>,
    /// Whose signatures are known and wanted. A job knows none and wants none: it loads by digest, from the
    /// gateway's bucket, what the gateway has verified.
    pub(super) signatures: Arc<config::Signatures>,
    /// Nothing is kept in the bucket.
    pub(super) is_aside: bool,
    /// Whether what is loaded has tool calls to judge.
    judging: bool,
}

/// By what components are fetched from servers.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) client: ForPlugins,
    pub(super) registries: config::Registries,
    pub(super) outbound: config::Outbound,
}

/// A plugin of a manifest, loaded.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) plugin: Arc<LoadedPlugin>,
    /// Why it is what was loaded last, and not what its registry has now.
    pub(super) away: Option<LoadError>,
}

/// A set as it is kept in the bucket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pins {
    pub(super) plugins: Vec<Pin>,
    /// By name. Left out where there is none, so that older sets keep their revision.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) groups: Vec<GroupPin>,
}

impl Pins {
    /// What a set consists of.
    pub(super) fn of(plugins: &[Arc<LoadedPlugin>], groups: &[Arc<Group>]) -> Self {
        let mut groups: Vec<_> = groups.iter().map(|group| group.pin.clone()).collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            plugins: plugins.iter().map(|plugin| plugin.pin.clone()).collect(),
            groups,
        }
    }

    /// The canonical text, and the revision: the first 16 hex digits of its SHA-256.
    pub(super) fn canonical(&self) -> Result<(String, String), serde_json::Error> {
        let text = sorted(serde_json::to_value(self)?).to_string();
        let revision = revision_of(text.as_bytes());
        Ok((text, revision))
    }
}

fn revision_of(text: &[u8]) -> String {
    hex::encode(Sha256::digest(text)).chars().take(16).collect()
}

/// The same with the keys of every object in byte order, so that a manifest that was only
/// rearranged is the same set.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            let members = members.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(Map::from_iter(members))
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// Where sets lie, by their revision, and components, by their digest.
pub(super) const SETS: &str = "plugins/sets/";
pub(super) const COMPONENTS: &str = "plugins/components/";

/// Lower-case hex SHA-256.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(super) fn component_name(digest: &str) -> String {
    format!("{COMPONENTS}{digest}.wasm")
}

fn set_name(revision: &str) -> String {
    format!("{SETS}{revision}.json")
}

impl Loader {
    pub(super) fn new(
        settings: &config::Plugins,
        data_dir: &Path,
        compiler: Compiler,
        bucket: Arc<dyn Bucket>,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            engine: Engine::new(settings.max_instances, compiler)?,
            cache: Cache::open(data_dir, settings.compiled.as_deref()),
            bucket,
            max_component_size: settings.max_component_size,
            fresh: SignedDuration::try_from(settings.keep_sets / 10).unwrap_or(SignedDuration::MAX),
            sources: None,
            signatures: Arc::default(),
            is_aside: false,
            judging: false,
        })
    }

    /// The same for whoever puts tool calls to what is loaded.
    pub(super) fn judging(mut self) -> Self {
        self.judging = true;
        self
    }

    /// The same, and by URL too.
    pub(super) fn fetching(
        mut self,
        settings: &config::Plugins,
        outbound: &config::Outbound,
    ) -> Self {
        match ForPlugins::for_sources(outbound) {
            Ok(client) => {
                self.sources = Some(Sources {
                    client,
                    registries: settings.registries.clone(),
                    outbound: outbound.clone(),
                });
            }
            Err(error) => tracing::error!(%error, "no component can be fetched from a server"),
        }
        self
    }

    /// The same, and only what is signed as these settings want it.
    pub(super) fn requiring(mut self, signatures: &config::Signatures) -> Self {
        self.signatures = Arc::new(signatures.clone());
        self
    }

    /// The same for whoever only wants to know what would be loaded.
    pub(super) fn aside(mut self) -> Self {
        self.is_aside = true;
        self
    }

    /// Loads one plugin of a manifest and keeps its component in the bucket; takes it from `before`
    /// where it is the same.
    pub(super) async fn load_file(
        &self,
        entry: &Entry,
        before: &[Arc<PluginSet>],
    ) -> Result<Taken, PluginError> {
        let failed = |error: LoadError| load_error(&entry.name, error);
        let fetched = self.read(entry).await;
        let fetched = fetched.map_err(|error| failed(asked_again(error)))?;
        let digest = digest_of(&fetched.bytes);
        if entry
            .sha256
            .as_ref()
            .is_some_and(|pinned| *pinned != digest)
        {
            return Err(failed(LoadError::new(
                "plugin-digest-mismatch",
                format!("the component's SHA-256 is {digest}, not the one that the manifest pins"),
            )));
        }
        entry.is_locked_at(&digest).map_err(failed)?;
        if let Some(about) = &fetched.about {
            about.check(entry.world).map_err(failed)?;
        }
        let verified = self.verify(entry, &digest, &fetched).await?;
        let pin = Pin::new(entry, digest.clone());
        let same = same_of(before, &pin);
        let plugin = match same.filter(|same| same.signed_by == verified.signed_by) {
            Some(same) => same.clone(),
            None => {
                let bytes = fetched.bytes.clone();
                let plugin = self.check(pin, bytes.clone()).await?;
                self.keep(&component_name(&digest), Bytes::from_owner(bytes))
                    .await?;
                self.keep_signatures(&digest, &verified).await?;
                Arc::new(LoadedPlugin {
                    signed_by: verified.signed_by,
                    ..plugin
                })
            }
        };
        if let Source::Registry(reference) = &entry.source
            && !self.is_aside
        {
            artifact_memory::remember(&*self.bucket, reference, &fetched).await?;
        }
        Ok(Taken {
            plugin,
            away: fetched.away.map(asked_again),
        })
    }

    pub(super) async fn read(&self, entry: &Entry) -> Result<Fetched, LoadError> {
        match &entry.source {
            Source::File(path) => self.of_path(path).await,
            Source::Url(url) => self.fetch(entry, url).await.map(Fetched::from),
            Source::Registry(reference) => self.of_registry(entry, reference).await,
            Source::Bucket(digest) => self.of_bucket(digest).await,
        }
    }

    /// What the bucket has by the pinned digest, else what the server gives.
    async fn fetch(&self, entry: &Entry, url: &Url) -> Result<Arc<[u8]>, LoadError> {
        if let Some(digest) = &entry.sha256 {
            let kept = self.bucket.get(&component_name(digest)).await;
            if let Ok(Some(object)) = kept {
                return Ok(object.data.as_ref().into());
            }
        }
        let Some(Sources {
            client, outbound, ..
        }) = &self.sources
        else {
            let message = "nothing is fetched from servers here";
            return Err(LoadError::new("plugin-source-unreachable", message));
        };
        let bytes = source::fetch(client, outbound, url, self.max_component_size).await?;
        Ok(bytes.into())
    }

    /// What a component is from outside.
    pub(super) async fn shape(&self, bytes: Arc<[u8]>) -> Result<Shape, LoadError> {
        Shape::of(&self.engine, Some(self.cache.clone()), bytes).await
    }

    /// Compiles, links, instantiates and asks what it is, whatever is wrong with its settings.
    pub(super) async fn describe(
        &self,
        pin: &Pin,
        bytes: Arc<[u8]>,
    ) -> Result<Description, PluginError> {
        let described = async {
            let component = self.component(pin, bytes).await?;
            answer(component.describe().await, "describe")
        };
        described
            .await
            .map_err(|error| load_error(&pin.name, error))
    }

    async fn component(&self, pin: &Pin, bytes: Arc<[u8]>) -> Result<Component, LoadError> {
        let grants = Grants::parse(&pin.grants)
            .map_err(|message| LoadError::new("plugin-manifest", message))?;
        let terms = Terms {
            name: pin.name.as_str().into(),
            world: pin.world,
            grants,
            settings: Value::Object(pin.settings.clone()).to_string().into(),
            limits: pin.limits(),
        };
        let component =
            Component::load(&self.engine, Some(self.cache.clone()), terms, bytes).await?;
        Ok(match self.judging {
            true => component.kept_ready(),
            false => component,
        })
    }

    /// Compiles, links, instantiates and asks: what must hold before a plugin may be active.
    pub(super) async fn check(
        &self,
        pin: Pin,
        bytes: Arc<[u8]>,
    ) -> Result<LoadedPlugin, PluginError> {
        let checked = async {
            let component = self.component(&pin, bytes).await?;
            let grants = component.grants().clone();
            let modes = Modes::read(&pin.modes)
                .map_err(|message| LoadError::new("plugin-manifest", message))?;
            let description = answer(component.describe().await, "describe")?;
            check_schema(&description.settings_schema, &pin.settings)?;
            answer(component.check_settings().await, "check-settings")?.map_err(|words| {
                LoadError::new("plugin-settings-refused", bounded(&words, WORDS))
            })?;
            if let Some(StandingAction { options, .. }) = &pin.always {
                let told = component.check_options(&options.to_string()).await;
                answer(told, "check-options")?.map_err(|words| {
                    let message = format!("options: {}", bounded(&words, WORDS));
                    LoadError::new("plugin-options-refused", message)
                })?;
            }
            Ok((component, description, grants, modes))
        };
        let (component, description, grants, modes) = checked
            .await
            .map_err(|error| load_error(&pin.name, error))?;
        let counters = Counters::default();
        Ok(LoadedPlugin {
            pin,
            grants,
            modes,
            description,
            component,
            signed_by: Vec::new(),
            counters,
            since: Timestamp::now(),
        })
    }

    /// Puts an object whose name follows from its content; one that stands there is the same.
    async fn keep(&self, name: &str, data: Bytes) -> Result<(), BucketError> {
        if self.is_aside {
            return Ok(());
        }
        loop {
            let put = self
                .bucket
                .put(name, data.clone(), When::Absent, Durability::Synced);
            match put.await {
                // One that nobody wanted for long may be about to be removed, so it is made as new.
                Err(BucketError::Conflict(_)) if !self.renew(name).await? => {}
                Ok(_) | Err(BucketError::Conflict(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Keeps a set, so that jobs and other gateways find it by its revision, and renews it with its
    /// components, so that nobody removes them as old.
    pub(super) async fn keep_set(&self, pins: &Pins) -> Result<(), BucketError> {
        let (text, revision) = pins.canonical().map_err(|error| BucketError::Io {
            name: "plugins/sets".to_owned(),
            source: error.into(),
        })?;
        for pin in &pins.plugins {
            let name = component_name(&pin.digest);
            if !self.renew(&name).await? {
                let source = io::Error::from(io::ErrorKind::NotFound);
                return Err(BucketError::Io { name, source });
            }
        }
        let name = set_name(&revision);
        self.keep(&name, Bytes::from(text)).await?;
        self.renew(&name).await?;
        Ok(())
    }

    /// Renews a set that is active no more: requests that were admitted under it a moment ago become tasks.
    pub(super) async fn renew_set(&self, revision: &str) -> Result<(), BucketError> {
        self.renew(&set_name(revision)).await.map(drop)
    }

    /// Writes an object again where it is not fresh, so that it counts as one from now on (see `prune`);
    /// false where there is none.
    async fn renew(&self, name: &str) -> Result<bool, BucketError> {
        loop {
            let found = self.bucket.list(name, None, 1).await?;
            let Some(entry) = found.first().filter(|entry| entry.name == name) else {
                return Ok(false);
            };
            let written = entry.generation.written_at();
            if written.is_some_and(|at| Timestamp::now().duration_since(at) < self.fresh) {
                return Ok(true);
            }
            let Some(object) = self.bucket.get(name).await? else {
                return Ok(false);
            };
            let when = When::Matches(object.generation);
            match self
                .bucket
                .put(name, object.data, when, Durability::Synced)
                .await
            {
                // Somebody else renewed it, or removed it: it is looked at once more.
                Err(BucketError::Conflict(_)) => {}
                done => return done.map(|_| true),
            }
        }
    }

    /// What a revision in the bucket consists of.
    pub(super) async fn pins(&self, revision: &str) -> Result<Pins, PluginError> {
        let missing = || PluginError::Missing(revision.to_owned());
        if revision.len() != 16 || !revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let set = self
            .bucket
            .get(&set_name(revision))
            .await?
            .ok_or_else(missing)?;
        if revision_of(&set.data) != revision {
            return Err(PluginError::Manifest(format!(
                "plugin set `{revision}` in the bucket is not what its name says"
            )));
        }
        serde_json::from_slice(&set.data).map_err(|error| {
            PluginError::Manifest(format!("plugin set `{revision}` cannot be read: {error}"))
        })
    }

    /// Loads a set from the bucket, but for what `before` has of it. Everything is checked against its
    /// digest.
    pub(super) async fn load_pins(
        &self,
        pins: &Pins,
        before: &[Arc<PluginSet>],
    ) -> Result<Vec<Arc<LoadedPlugin>>, PluginError> {
        // One component may serve several entries with different settings.
        let mut components: HashMap<&str, Arc<[u8]>> = HashMap::new();
        let mut plugins = Vec::new();
        for pin in &pins.plugins {
            if let Some(same) = same_of(before, pin) {
                plugins.push(same.clone());
                continue;
            }
            let bytes = match components.get(&*pin.digest) {
                Some(bytes) => bytes.clone(),
                None => {
                    let object = self.bucket.get(&component_name(&pin.digest)).await?;
                    let missing = || PluginError::Missing(format!("component {}", pin.digest));
                    let bytes: Arc<[u8]> = object.ok_or_else(missing)?.data.as_ref().into();
                    if hex::encode(Sha256::digest(&bytes)) != pin.digest {
                        let message = "the component in the bucket is not what its name says";
                        let error = LoadError::new("plugin-digest-mismatch", message);
                        return Err(load_error(&pin.name, error));
                    }
                    components.insert(&pin.digest, bytes.clone());
                    bytes
                }
            };
            let verified = self.verify_kept(&pin.name, &pin.digest, &bytes).await?;
            let plugin = self.check(pin.clone(), bytes).await?;
            plugins.push(Arc::new(LoadedPlugin {
                signed_by: verified.signed_by,
                ..plugin
            }));
        }
        Ok(plugins)
    }
}

/// What a gateway does about a server that is away.
fn asked_again(error: LoadError) -> LoadError {
    match error.code {
        UNREACHABLE => LoadError::new(error.code, format!("{}. It is asked again", error.message)),
        _ => error,
    }
}

pub(super) fn load_error(plugin: &str, error: LoadError) -> PluginError {
    PluginError::Load {
        plugin: plugin.to_owned(),
        code: error.code,
        message: error.message,
    }
}

/// The operator is the only reader of these words, so a trap's message may stand in them.
fn answer<T>(call: Call<T>, function: &str) -> Result<T, LoadError> {
    let problem = match call.outcome {
        CallOutcome::Done(answer) => return Ok(answer),
        CallOutcome::Trapped(message) => message,
        CallOutcome::TimedOut => "it takes too long".to_owned(),
        CallOutcome::OutOfMemory => {
            "it needs more memory than limits.memory allows (a Rust plugin needs 2MiB or so, a Python \
             plugin 64MiB)"
                .to_owned()
        }
        CallOutcome::TooBig => "it hands over more than limits.output allows".to_owned(),
    };
    Err(LoadError::new(
        "plugin-trial-failed",
        format!("its `{function}` cannot be called: {problem}"),
    ))
}

fn check_schema(schema: &str, settings: &Map<String, Value>) -> Result<(), LoadError> {
    let bad = |what: String| {
        let message = format!("its settings schema {what}; ask the plugin's author");
        LoadError::new("plugin-schema-invalid", message)
    };
    let schema: Value =
        serde_json::from_str(schema).map_err(|error| bad(format!("is no JSON ({error})")))?;
    let validator = jsonschema::draft202012::new(&schema).map_err(|error| {
        bad(format!(
            "is no JSON Schema ({})",
            bounded(&error.to_string(), WORDS)
        ))
    })?;
    let settings = Value::Object(settings.clone());
    let mistakes: Vec<String> = validator
        .iter_errors(&settings)
        .take(MISTAKES)
        .map(|error| match error.instance_path().to_string() {
            path if path.is_empty() => error.to_string(),
            path => format!("{path}: {error}"),
        })
        .collect();
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(LoadError::new(
        "plugin-settings-invalid",
        format!("settings: {}", bounded(&mistakes.join("; "), WORDS)),
    ))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
