//! What a component is, from outside: what it imports and exports, before it is linked to anything.

use std::sync::Arc;

use super::component::{LoadError, compiled};
use super::contract::{built_against, interface};
use super::{Cache, Engine, World};

/// Imports and exports of a component, by their full names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// In the component's order.
    pub imports: Vec<String>,
    /// In the component's order.
    pub exports: Vec<String>,
    /// The newest contract that it names, e.g. `gatehouse:plugin@0.1.0`.
    pub contract: Option<String>,
}

impl Shape {
    /// Compiles `bytes`, or takes the compiled form from `cache`, and looks at it.
    pub async fn of(
        engine: &Engine,
        cache: Option<Cache>,
        bytes: Arc<[u8]>,
    ) -> Result<Self, LoadError> {
        let component = compiled(engine, cache, bytes).await?;
        let kind = component.component_type();
        let names = |name: &str| name.to_owned();
        Ok(Self {
            imports: kind
                .imports(engine.inner())
                .map(|(name, _)| names(name))
                .collect(),
            exports: kind
                .exports(engine.inner())
                .map(|(name, _)| names(name))
                .collect(),
            contract: built_against(&component, engine.inner())
                .map(|version| format!("gatehouse:plugin@{version}")),
        })
    }

    /// The world whose own export it has.
    pub fn world(&self) -> Option<World> {
        [
            World::Validator,
            World::ToolPermission,
            World::PostExecution,
        ]
        .into_iter()
        .find(|world| {
            let mut interfaces = self.exports.iter().filter_map(|name| interface(name));
            interfaces.any(|name| name == world.export())
        })
    }

    /// The imported interfaces that an operator must grant.
    pub fn grantable(&self) -> Vec<&str> {
        let grantable = World::PostExecution.grantable();
        self.imports
            .iter()
            .filter_map(|name| interface(name))
            .filter(|name| grantable.contains(name))
            .collect()
    }
}
