//! An instance made ahead of the call that it serves. Between two tool calls the agent waits for its model: the
//! instance for the next call is made then, and that of the last one unmade, instead of while the agent waits
//! for the verdict. It is as fresh as any other: it serves one call, and what it held is wiped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

use super::bindings::tool_permission::ToolPermission;
use super::call::Running;
use super::component::{Component, Pre};
use super::guest::{Guest, Reach};

/// What stands ready for the next call of one component, and what the last one left.
#[derive(Default)]
pub(super) struct Ahead {
    ready: Mutex<Option<Ready>>,
    served: Mutex<Option<Served>>,
    /// It does not start as it should without a call: no other is made.
    is_unfit: AtomicBool,
}

/// What a call leaves, in the order in which it goes.
pub(super) type Served = (Store<Guest>, OwnedSemaphorePermit);

/// An instance that nobody has called.
pub(super) struct Ready {
    pub(super) store: Store<Guest>,
    pub(super) instance: ToolPermission,
    pub(super) slot: OwnedSemaphorePermit,
}

impl Ahead {
    pub(super) fn take(&self) -> Option<Ready> {
        lock(&self.ready).take()
    }

    /// Keeps what a call left until somebody has time to unmake it.
    pub(super) fn leave(&self, served: Served) {
        *lock(&self.served) = Some(served);
    }

    /// Unmakes what served and makes what is to serve next.
    pub(super) async fn prepare(&self, component: &Component) {
        drop(lock(&self.served).take());
        if self.is_unfit.load(Ordering::Relaxed) || lock(&self.ready).is_some() {
            return;
        }
        // Where places are short, the call makes an instance itself.
        let Some(slot) = component.engine.spare_slot() else {
            return;
        };
        match Ready::make(component, slot).await {
            Some(ready) => *lock(&self.ready) = Some(ready),
            None => self.is_unfit.store(true, Ordering::Relaxed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ready {
    /// None where the guest does not start as it should: then each call makes an instance itself, and it is
    /// the call that fails.
    async fn make(component: &Component, slot: OwnedSemaphorePermit) -> Option<Self> {
        let Pre::ToolPermission(pre) = &component.pre else {
            return None;
        };
        let mut running = Running::begin(component, component.terms.limits.time, Reach::default());
        let made = pre.instantiate_async(&mut running.store);
        let instance = tokio::time::timeout(running.limit, made).await.ok()?.ok()?;
        // What a guest says is logged with its task, freed of the task's secrets, and what it notes is the
        // task's: one that has begun with either before there is a task would go on without.
        let silent = running.store.data().is_silent();
        silent.then_some(Self {
            store: running.store,
            instance,
            slot,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::plugin::{Grants, RealPath, ToolCall};
    use crate::wasm::{CallOutcome, Compiler, Engine, Limits, Opinion, Terms, World};

    async fn denies_all(engine: &Engine) -> Component {
        let bytes = include_bytes!("../../../tests/fixtures/components/denies-all-0.1.0.wasm");
        let terms = Terms {
            name: "denies-all".into(),
            world: World::ToolPermission,
            grants: Grants::default(),
            settings: "{}".into(),
            limits: Limits {
                memory: 16 << 20,
                time: Duration::from_secs(5),
                output: 1 << 20,
            },
        };
        let component = Component::load(engine, None, terms, bytes[..].into()).await;
        component.unwrap().kept_ready()
    }

    fn reach() -> Reach {
        let call = ToolCall {
            id: "toolu_1".into(),
            tool: "Bash".into(),
            input: json!({}),
            workspace: "/w".into(),
            cwd: "/w".into(),
            subagent: None,
            mcp_server: None,
            index: 0,
            real: RealPath::Now,
        };
        Reach {
            call: Some(Arc::new(call)),
            ..Reach::default()
        }
    }

    #[tokio::test]
    async fn an_instance_made_ahead_serves_one_call_and_is_made_anew() {
        let engine = Engine::new(4, Compiler::here()).unwrap();
        let component = denies_all(&engine).await;
        let ahead = component.ahead.clone().unwrap();
        for _ in 0..3 {
            component.prepare().await;
            assert!(lock(&ahead.ready).is_some() && lock(&ahead.served).is_none());
            let answer = component.decide(reach()).await.outcome;
            assert!(matches!(answer, CallOutcome::Done(Ok(Opinion::Deny(_)))));
            assert!(lock(&ahead.ready).is_none() && lock(&ahead.served).is_some());
        }
        let unprepared = component.decide(reach()).await.outcome;
        assert!(matches!(
            unprepared,
            CallOutcome::Done(Ok(Opinion::Deny(_)))
        ));
    }

    #[tokio::test]
    async fn without_a_place_to_spare_each_call_makes_its_own() {
        let engine = Engine::new(1, Compiler::here()).unwrap();
        let component = denies_all(&engine).await;
        component.prepare().await;
        assert!(lock(&component.ahead.clone().unwrap().ready).is_none());
        let answer = component.decide(reach()).await.outcome;
        assert!(matches!(answer, CallOutcome::Done(Ok(_))));
    }
}
