//! The component that a command is about, and the terms that it is tried on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value};

use super::templates::TargetWorld;
use crate::config::{self, Sources};
use crate::plugin::{PluginError, Trial, TrialTerms, Workbench};
use crate::wasm::{LoadError, Shape, World};

/// The component in a project.
const COMPONENT: &str = "plugin.wasm";
/// A settings file of more bytes is none.
const SETTINGS: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(in crate::cli::plugin) struct Subject {
    /// The component, or a project with one
    file: PathBuf,
    /// Its world, where that is to be checked; a component's exports tell it
    #[arg(long)]
    world: Option<TargetWorld>,
    /// Its settings: a JSON object, or a file with one; those of a case come before
    #[arg(long, value_name = "JSON|FILE")]
    settings: Option<String>,
    /// A grant as in the manifest; interfaces of the workspace, of artefacts and of git that it imports
    /// are granted anyway
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    /// A limit as in the manifest: memory=64MiB, time=200ms, output=1MiB
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = limit)]
    limits: Vec<(String, String)>,
}

/// A component that was read and looked at, and the bench to try it on.
pub(super) struct Opened {
    pub(super) bench: Workbench,
    pub(super) file: PathBuf,
    pub(super) bytes: Arc<[u8]>,
    pub(super) shape: Shape,
    pub(super) terms: TrialTerms,
}

impl Subject {
    pub(super) fn file(&self) -> PathBuf {
        component(&self.file)
    }

    pub(super) async fn open(&self, sources: &Sources) -> anyhow::Result<Opened> {
        let mut opened = open(&self.file, self.world.map(World::from), sources).await?;
        let terms = &mut opened.terms;
        if let Some(text) = &self.settings {
            terms.settings = settings(text)?;
        }
        let imported = opened.shape.grantable().into_iter();
        // A host is the author's to name; the rest is stood in for and hurts nobody.
        terms.grants = imported
            .filter(|interface| *interface != "http")
            .map(str::to_owned)
            .chain(self.grants.iter().cloned())
            .collect();
        terms.limits = self.limits.iter().cloned().collect();
        Ok(opened)
    }
}

impl Opened {
    /// Loads the component with these settings, or those of the command line.
    pub(super) async fn load(
        &self,
        settings: Option<Map<String, Value>>,
    ) -> Result<Trial, PluginError> {
        let mut terms = self.terms.clone();
        if let Some(settings) = settings {
            terms.settings = settings;
        }
        self.bench.load(&terms, self.bytes.clone()).await
    }
}

/// The component of a project, or the file itself.
pub(super) fn component(file: &Path) -> PathBuf {
    if file.is_dir() {
        file.join(COMPONENT)
    } else {
        file.to_owned()
    }
}

/// Reads a component and finds out what it is.
pub(super) async fn open(
    file: &Path,
    world: Option<World>,
    sources: &Sources,
) -> anyhow::Result<Opened> {
    let is_project = file.is_dir();
    let file = component(file);
    // No setting of the author's machine: what holds for everybody is what a plugin is to be tried on.
    let config = config::load(&Sources::default())
        .map_err(|mistakes| anyhow::anyhow!("the default settings are wrong\n{mistakes}"))?;
    let bench = Workbench::open(&config.plugins, &cache(sources))?;
    if is_project && !file.exists() {
        bail!(
            "there is no `{}`: build it first, by `gatehouse plugin build`",
            file.display()
        );
    }
    let bytes = bench.read(&file).map_err(coded)?;
    let shape = bench.shape(bytes.clone()).await.map_err(coded)?;
    let found = shape.world();
    let world = world.or(found).with_context(|| {
        format!(
            "`{}` targets no world of gatehouse:plugin; it exports: {}",
            file.display(),
            shape.exports.join(", ")
        )
    })?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let terms = TrialTerms {
        name: stem.into_owned(),
        world,
        settings: Map::new(),
        grants: Vec::new(),
        limits: BTreeMap::new(),
    };
    Ok(Opened {
        bench,
        file,
        bytes,
        shape,
        terms,
    })
}

/// A refusal with the code whose page says more.
pub(in crate::cli::plugin) fn coded(error: LoadError) -> anyhow::Error {
    anyhow::anyhow!("{} ({})", error.message, error.code)
}

/// The same of a loader that names the plugin.
pub(in crate::cli::plugin) fn told(error: PluginError) -> anyhow::Error {
    match error {
        PluginError::Load { code, message, .. } => anyhow::anyhow!("{message} ({code})"),
        other => other.into(),
    }
}

/// Where compiled components are kept between commands: an interpreter takes seconds to compile.
pub(in crate::cli::plugin) fn cache(sources: &Sources) -> PathBuf {
    let place = |name: &str| {
        let value = sources
            .environment
            .get(name)
            .filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    place("XDG_CACHE_HOME")
        .or_else(|| place("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("gatehouse")
}

fn settings(text: &str) -> anyhow::Result<Map<String, Value>> {
    let text = if text.trim_start().starts_with('{') {
        text.to_owned()
    } else {
        let content = crate::wasm::read_bounded(Path::new(text), SETTINGS)
            .with_context(|| format!("--settings: `{text}` is no JSON object and cannot be read"))?
            .with_context(|| {
                format!("--settings: `{text}` is no file of at most {SETTINGS} bytes")
            })?;
        String::from_utf8(content).context("--settings: the file is not UTF-8")?
    };
    serde_json::from_str(&text).context("--settings: expected a JSON object")
}

pub(in crate::cli::plugin) fn limit(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key @ ("memory" | "time" | "output"), value)) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => {
            Err("expected memory=SIZE, time=DURATION or output=SIZE, e.g. memory=64MiB".to_owned())
        }
    }
}
