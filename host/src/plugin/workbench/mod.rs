//! One component by itself, on the terms of a gateway: loaded by the same loader, called within the
//! same limits, its answers read in the same way. For those who write plugins.
//!
//! `input` reads what a case says goes in, `act` runs a post-execution plugin, `stand_in` answers for the hosts and repositories that a
//! post-execution plugin reaches. Does not know a manifest, a bucket of the gateway's or a task that
//! runs. Relies on `cases` for the format of cases.

mod act;
mod input;
mod stand_in;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::answer::{self, Fault, Judgement};
use super::limits::{LimitsText, limits};
use super::load::Loader;
use super::loaded::Pin;
use super::manifest::{Entry, OnError};
use super::modes::Enforcement;
use super::source::Source;
use super::{Grants, PluginError, PluginSet, Validation};
use crate::bucket::directory::DirectoryBucket;
use crate::config;
use crate::redact::Redactor;
use crate::wasm::{Call, CallOutcome, Compiler, Description, LoadError, Reach, Shape, World};
pub use input::CaseInput;

/// Granted where only the components' imports shall be satisfied: a name that stands for nothing.
const NOWHERE: &str = "http:https://host.invalid";

/// A place to try components at.
#[derive(Debug)]
pub struct Workbench {
    pub(super) loader: Loader,
    pub(super) defaults: config::Plugins,
    pub(super) bucket: Arc<DirectoryBucket>,
    /// Where kept files go; gone with the bench.
    scratch: TempDir,
}

/// On what terms a component is tried. What is not said is as in a manifest that does not say it.
#[derive(Clone, Debug)]
pub struct TrialTerms {
    /// The operator's name for it.
    pub name: String,
    /// What it must be.
    pub world: World,
    /// Its settings.
    pub settings: Map<String, Value>,
    /// Words as in the manifest.
    pub grants: Vec<String>,
    /// As in the manifest: `memory`, `time`, `output`.
    pub limits: BTreeMap<String, String>,
}

/// A component that was loaded and can be asked.
#[derive(Debug)]
pub struct Trial {
    set: PluginSet,
    world: World,
    name: String,
    /// Those that it may send.
    secrets: Vec<String>,
    /// Whether it may send requests.
    has_hosts: bool,
}

/// What came out of one call.
#[derive(Clone, Debug)]
pub struct Told {
    /// In the words of a case's `expected.json`.
    pub outcome: Map<String, Value>,
    /// In the plugin, instantiation included.
    pub time: Duration,
    /// Bytes of linear memory that the call had; none where it was not measured.
    pub memory: Option<u64>,
}

impl Told {
    /// The plugin gave no answer: it trapped, took too much, or returned an error.
    pub fn is_fault(&self) -> bool {
        self.outcome.contains_key("fault")
    }
}

impl Workbench {
    /// `cache` is where compiled components are kept.
    pub fn open(defaults: &config::Plugins, cache: &Path) -> Result<Self, PluginError> {
        let scratch = |error: std::io::Error| {
            PluginError::Manifest(format!("no temporary directory can be made: {error}"))
        };
        let directory = tempfile::tempdir().map_err(scratch)?;
        let root = directory.path().join("bucket");
        let bucket = Arc::new(DirectoryBucket::open(root).map_err(scratch)?);
        Ok(Self {
            loader: Loader::new(defaults, cache, Compiler::apart(defaults), bucket.clone())?,
            defaults: defaults.clone(),
            bucket,
            scratch: directory,
        })
    }

    /// Reads a component's file, within the gateway's bound.
    pub fn read(&self, file: &Path) -> Result<Arc<[u8]>, LoadError> {
        let limit = self.defaults.max_component_size;
        let shown = file.display();
        match crate::wasm::read_bounded(file, limit) {
            Ok(Some(bytes)) => Ok(bytes.into()),
            Ok(None) => Err(LoadError::new(
                "plugin-too-large",
                format!("`{shown}` is no file of at most {limit} bytes"),
            )),
            Err(error) => Err(LoadError::new(
                "plugin-not-found",
                format!("`{shown}` cannot be read: {error}"),
            )),
        }
    }

    /// What a component imports and exports. Compiles it, where that was not done before.
    pub async fn shape(&self, bytes: Arc<[u8]>) -> Result<Shape, LoadError> {
        self.loader.shape(bytes).await
    }

    /// What a component says about itself, whatever its settings would have to be.
    pub async fn describe(
        &self,
        terms: &TrialTerms,
        bytes: Arc<[u8]>,
    ) -> Result<Description, PluginError> {
        let pin = self.pin(terms, &bytes)?;
        self.loader.describe(&pin, bytes).await
    }

    /// Loads a component as a gateway would.
    pub async fn load(&self, terms: &TrialTerms, bytes: Arc<[u8]>) -> Result<Trial, PluginError> {
        let pin = self.pin(terms, &bytes)?;
        let plugin = self.loader.check(pin, bytes).await?;
        Ok(Trial {
            world: terms.world,
            name: terms.name.clone(),
            secrets: act::secrets(&terms.grants),
            has_hosts: terms.grants.iter().any(|word| word.starts_with("http:")),
            set: PluginSet::new("trial".to_owned(), vec![Arc::new(plugin)], Vec::new()),
        })
    }

    fn pin(&self, terms: &TrialTerms, bytes: &[u8]) -> Result<Pin, PluginError> {
        let entry = self.entry(terms, Source::File("trial.wasm".into()))?;
        Ok(Pin::new(&entry, hex::encode(Sha256::digest(bytes))))
    }

    /// As a manifest would have it.
    pub(super) fn entry(&self, terms: &TrialTerms, source: Source) -> Result<Entry, PluginError> {
        let wrong = |error: LoadError| super::load::load_error(&terms.name, error);
        let words = |message: String| wrong(LoadError::new("plugin-manifest", message));
        let text = serde_json::to_value(&terms.limits).unwrap_or_default();
        let text: LimitsText =
            serde_json::from_value(text).map_err(|error| words(format!("limits: {error}")))?;
        Ok(Entry {
            name: terms.name.clone(),
            world: terms.world,
            source,
            written: "trial.wasm".to_owned(),
            sha256: None,
            locked: None,
            settings: terms.settings.clone(),
            grants: Grants::parse(&terms.grants).map_err(words)?,
            mode: Enforcement::Enforce,
            modes: Vec::new(),
            on_error: OnError::Deny,
            limits: limits(terms.world, &text, &self.defaults).map_err(wrong)?,
            standing: None,
            needs_repository: false,
            required: false,
        })
    }

    /// Asks a component once.
    pub async fn ask(&self, trial: &Trial, input: &CaseInput) -> Told {
        match trial.world {
            World::Validator => trial.validate(input).await,
            World::ToolPermission => trial.decide(input).await,
            World::PostExecution => self.act(trial, input).await,
        }
    }
}

impl TrialTerms {
    /// Grants under which every import of `shape` is linked, for those who only want to know what it is.
    pub fn grant_everything(&mut self, shape: &Shape) {
        let imported = shape.grantable().into_iter();
        self.grants = imported
            .map(|interface| match interface {
                "http" => NOWHERE.to_owned(),
                interface => interface.to_owned(),
            })
            .collect();
    }
}

impl Trial {
    async fn validate(&self, input: &CaseInput) -> Told {
        let reach = Reach {
            task: Some(input.task.clone()),
            ..Reach::default()
        };
        self.ask(
            reach,
            |component, reach| async move { component.validate(reach).await },
            |answer| {
                Ok(match answer::validation(answer, &Redactor::default())? {
                    Validation::Accept => json!({ "verdict": "accept" }),
                    Validation::Amend(patch) => json!({ "verdict": "amend", "patch": patch }),
                    Validation::Reject(rejection) => json!({
                        "verdict": "reject",
                        "code": rejection.code,
                        "field": rejection.field,
                        "message": rejection.message,
                        "details": rejection.details,
                    }),
                })
            },
        )
        .await
    }

    async fn decide(&self, input: &CaseInput) -> Told {
        let reach = Reach {
            task: Some(input.task.clone()),
            call: Some(input.call.clone()),
            stated: input.stated.clone(),
            notes: Some(input.notes.clone()),
            ..Reach::default()
        };
        self.ask(
            reach,
            |component, reach| async move { component.decide(reach).await },
            |opinion| {
                let judgement = answer::judgement(opinion, &Redactor::default())?;
                let mut outcome = json!({ "decision": judgement.name() });
                match judgement {
                    Judgement::Abstain | Judgement::Allow => {}
                    Judgement::Rewrite(input) => add(&mut outcome, "input", input),
                    Judgement::Deny(reason) | Judgement::Ask(reason) => {
                        add(&mut outcome, "reason", json!(reason));
                    }
                }
                Ok(outcome)
            },
        )
        .await
    }

    async fn ask<A, F: Future<Output = Call<Result<A, String>>>>(
        &self,
        reach: Reach,
        call: impl FnOnce(crate::wasm::Component, Reach) -> F,
        read: impl FnOnce(A) -> Result<Value, Fault>,
    ) -> Told {
        let none = Redactor::default();
        let call = match self.set.plugins().first() {
            Some(plugin) => call(plugin.component.clone(), reach).await,
            None => Call {
                outcome: CallOutcome::Trapped("nothing is loaded".to_owned()),
                cited: None,
                time: Duration::ZERO,
                memory: 0,
            },
        };
        let (cited, time, memory) = (call.cited.clone(), call.time, call.memory);
        let mut outcome = answer::settle(call, &none)
            .and_then(read)
            .unwrap_or_else(|fault| json!({ "error": fault.words, "fault": fault.kind }));
        add(&mut outcome, "cited", json!(cited));
        Told {
            outcome: members(outcome),
            time,
            memory: Some(memory),
        }
    }
}

fn add(outcome: &mut Value, name: &str, value: Value) {
    if let (Some(members), false) = (outcome.as_object_mut(), value.is_null()) {
        members.insert(name.to_owned(), value);
    }
}

fn members(outcome: Value) -> Map<String, Value> {
    match outcome {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
