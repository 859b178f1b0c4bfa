//! From bytes to a component that is ready to be called: preamble, compilation, and what `link` does.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ahead::Ahead;
use super::bindings::post_execution::PostExecutionPre;
use super::bindings::tool_permission::ToolPermissionPre;
use super::bindings::validator::ValidatorPre;
use super::cache::{self, Cache};
use super::contract;
use super::guest::Guest;
use super::link::{asked, check_imports, link};
use super::{Engine, Limits};
use crate::plugin::Grants;

/// The kinds of plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// Judges requests, in the gateway.
    Validator,
    /// Judges tool calls, in the job.
    ToolPermission,
    /// Acts after the agent, in the job.
    PostExecution,
}

impl World {
    /// As the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::ToolPermission => "tool-permission",
            Self::PostExecution => "post-execution",
        }
    }

    /// The interface that only plugins of this world export.
    pub(super) fn export(self) -> &'static str {
        match self {
            Self::Validator => "validation",
            Self::ToolPermission => "tool-policy",
            Self::PostExecution => "post-action",
        }
    }

    /// Interfaces that every plugin of the world may import.
    pub(super) fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::Validator => &["host", "tasks"],
            Self::ToolPermission => &["host", "tasks", "tool-calls", "task-state", "failures"],
            Self::PostExecution => &["host", "tasks", "outcomes", "failures"],
        }
    }

    /// Interfaces that a plugin of the world may import where they are granted.
    pub(super) fn grantable(self) -> &'static [&'static str] {
        match self {
            Self::Validator | Self::ToolPermission => &[],
            Self::PostExecution => &["workspace", "artifacts", "git", "http"],
        }
    }
}

/// Why a component cannot be used. The message tells the operator what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// Stable, e.g. `plugin-not-a-component`.
    pub code: &'static str,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl LoadError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// On what terms a component runs.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// What it must be.
    pub world: World,
    /// What it may reach beside what its world always has.
    pub grants: Grants,
    /// A JSON object.
    pub settings: Arc<str>,
    /// Of each call.
    pub limits: Limits,
}

/// A component that was checked and linked.
#[derive(Clone)]
pub struct Component {
    pub(super) engine: Engine,
    pub(super) pre: Pre,
    pub(super) terms: Terms,
    pub(super) ahead: Option<Arc<Ahead>>,
    asks: Arc<[&'static str]>,
    contract: Option<String>,
}

/// A component with its imports linked, by world.
#[derive(Clone)]
pub(super) enum Pre {
    Validator(ValidatorPre<Guest>),
    ToolPermission(ToolPermissionPre<Guest>),
    PostExecution(PostExecutionPre<Guest>),
}

impl std::fmt::Debug for Component {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Component")
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl Component {
    /// What it may reach.
    pub(crate) fn grants(&self) -> &Grants {
        &self.terms.grants
    }

    /// Takes the compiled form of `bytes` from `cache`, or compiles them, and checks and links it.
    pub async fn load(
        engine: &Engine,
        cache: Option<Cache>,
        terms: Terms,
        bytes: Arc<[u8]>,
    ) -> Result<Self, LoadError> {
        let compiled = compiled(engine, cache, bytes).await?;
        let built = contract::built_against(&compiled, engine.inner());
        contract::check(built)?;
        check_imports(&compiled, engine.inner(), terms.world, &terms.grants)?;
        let pre = link(&compiled, engine.inner(), terms.world, &terms.grants)?;
        Ok(Self {
            engine: engine.clone(),
            pre,
            contract: built.map(|built| built.to_string()),
            asks: asked(&compiled, engine.inner(), terms.world).into(),
            ahead: None,
            terms,
        })
    }

    /// The same with an instance ahead of each tool call, where it judges them; [`Component::prepare`] makes it.
    #[must_use]
    pub fn kept_ready(mut self) -> Self {
        if self.terms.world == World::ToolPermission {
            self.ahead = Some(Arc::default());
        }
        self
    }

    /// The newest version of the contract that it names.
    pub fn contract(&self) -> Option<&str> {
        self.contract.as_deref()
    }

    /// The grants that it cannot do without, as words of the manifest.
    pub fn asks(&self) -> &[&'static str] {
        &self.asks
    }
}

/// Takes the compiled form from `cache`, or compiles.
pub(super) async fn compiled(
    engine: &Engine,
    cache: Option<Cache>,
    bytes: Arc<[u8]>,
) -> Result<wasmtime::component::Component, LoadError> {
    check_preamble(&bytes)?;
    let whole = Arc::clone(&bytes);
    let digest = aside(move || hex::encode(Sha256::digest(&whole))).await?;
    let key = cache::key(&digest, engine.inner());
    if let Some(component) = kept(engine, cache.clone(), &key).await? {
        return Ok(component);
    }
    let _turn = engine.compiler().turn().await;
    // Whoever had the turn before may have compiled the same.
    if let Some(component) = kept(engine, cache.clone(), &key).await? {
        return Ok(component);
    }
    let started = Instant::now();
    let code = engine.compiler().compile(engine.inner(), bytes).await?;
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(sha256 = digest, millis, "compiled a component");
    let engine = engine.inner().clone();
    aside(move || {
        if let Some(cache) = cache {
            cache.put(&key, &code);
        }
        deserialize(&engine, &code).map_err(|error| {
            let message = format!("this component cannot be run here: {error:#}");
            LoadError::new("plugin-compile-failed", message)
        })
    })
    .await?
}

/// Off the runtime's threads.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LoadError::new("plugin-compile-failed", "loading it broke off"))
}

/// The compiled form that was kept, if it is of use.
async fn kept(
    engine: &Engine,
    cache: Option<Cache>,
    key: &str,
) -> Result<Option<wasmtime::component::Component>, LoadError> {
    let Some(cache) = cache else {
        return Ok(None);
    };
    let (engine, key) = (engine.inner().clone(), key.to_owned());
    aside(move || {
        let code = cache.get(&key)?;
        let component = deserialize(&engine, &code);
        component
            .inspect_err(|error| {
                tracing::debug!(key, %error, "a kept component is of no use any more");
            })
            .ok()
    })
    .await
}

fn deserialize(
    engine: &wasmtime::Engine,
    code: &[u8],
) -> wasmtime::Result<wasmtime::component::Component> {
    #[expect(
        unsafe_code,
        reason = "it was compiled by this binary, or was written by us into a directory that is ours \
                  alone and has its digest; wasmtime checks version and configuration itself"
    )]
    // SAFETY: `code` is what `Engine::precompile_component` returned, see the reason above.
    unsafe {
        wasmtime::component::Component::deserialize(engine, code)
    }
}

/// A core module and a component differ in the second half of their preamble.
fn check_preamble(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes.first_chunk::<8>() {
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Err(LoadError::new(
            "plugin-core-module",
            "this is a core module, not a component: build it with `--target wasm32-wasip2`, or turn \
             it into one with `wasm-tools component new module.wasm -o plugin.wasm`",
        )),
        Some([0, b'a', b's', b'm', ..]) => Err(LoadError::new(
            "plugin-not-a-component",
            "this is a component of a version that is not understood; build it with current tools",
        )),
        _ => Err(LoadError::new(
            "plugin-not-a-component",
            "this is no WebAssembly component: it does not begin with its magic number",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wasm::Compiler;

    const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    async fn load(bytes: &[u8]) -> LoadError {
        let engine = Engine::new(1, Compiler::here()).unwrap();
        let terms = Terms {
            name: "p".into(),
            world: World::Validator,
            grants: Grants::default(),
            settings: "{}".into(),
            limits: Limits {
                memory: 1 << 20,
                time: std::time::Duration::from_secs(1),
                output: 1 << 20,
            },
        };
        Component::load(&engine, None, terms, bytes.into())
            .await
            .unwrap_err()
    }

    #[tokio::test]
    async fn a_core_module_is_refused_with_the_fix_named() {
        let error = load(CORE_MODULE).await;
        assert_eq!(error.code, "plugin-core-module");
        assert!(error.message.contains("wasm32-wasip2"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_component_is_refused() {
        assert_eq!(load(b"#!/bin/sh\n").await.code, "plugin-not-a-component");
        assert_eq!(load(b"").await.code, "plugin-not-a-component");
        assert_eq!(
            load(b"\0asm\x0d\0\x01\0\xff\xff").await.code,
            "plugin-compile-failed"
        );
    }

    #[tokio::test]
    async fn a_component_without_the_worlds_exports_is_refused() {
        let error = load(EMPTY_COMPONENT).await;
        assert_eq!(error.code, "plugin-wrong-world");
    }
}
