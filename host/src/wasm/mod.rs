//! The only place that names wasmtime: engine, limits, bindings, one call at a time with a typed
//! outcome.
//!
//! [`Engine`] compiles components and owns the clock that interrupts them; [`Component`] is one that
//! was checked against its world and grants and is ready to be instantiated. Every call gets a fresh
//! store and instance, a memory limit, an epoch deadline, a bound on what crosses the border and a
//! wall clock around it all, and ends in a [`CallOutcome`].
//!
//! Does not know manifests, records or HTTP. Relies on `plugin/` for what a guest may see
//! ([`TaskView`](crate::plugin::TaskView) and its neighbours) and may reach
//! (its grants, workspace, artefacts, git, http).

mod ahead;
mod bindings;
mod cache;
mod call;
mod compile_apart;
mod compiler;
mod component;
mod contract;
mod engine;
mod guest;
mod imports;
mod limits;
mod link;
mod output;
mod shape;

pub use bindings::{Answer, Description, Opinion, Refusal};
pub use cache::Cache;
pub(crate) use cache::read_bounded;
pub use call::{Call, CallOutcome};
pub(crate) use compile_apart::compile_apart;
pub use compiler::Compiler;
pub(crate) use compiler::{Bounds as CompileBounds, COMMAND as COMPILE_COMMAND};
pub use component::{Component, LoadError, Terms, World};
pub use engine::{Engine, EngineError};
pub use guest::{Reach, StatedPaths};
pub use limits::{Limits, MAX_MEMORY};
pub use shape::Shape;
