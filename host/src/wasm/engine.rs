//! The engine: how components are compiled, where their instances live, and the clock that
//! interrupts them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::compiler::Compiler;
use super::limits::MAX_MEMORY;

/// Between two looks at the deadlines. A shorter tick wakes the thread more often than anybody
/// needs; a longer one lets a looping guest hold its thread of the runtime for longer, since guests
/// give way once a tick.
const TICK: Duration = Duration::from_millis(10);

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The settings do not fit this machine.
    #[error("the WebAssembly engine cannot be made: {0}")]
    Engine(#[source] wasmtime::Error),
    /// No thread for the clock.
    #[error("the thread that interrupts plugins cannot be started: {0}")]
    Ticker(#[source] std::io::Error),
}

/// Compiles components and holds the pool of their instances. Cheap to clone; the thread that ticks
/// ends with the last clone.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    slots: Arc<Semaphore>,
    /// So many of them are never taken ahead of a call.
    for_calls: usize,
    compiler: Compiler,
    _ticker: Arc<Ticker>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("free", &self.slots.available_permits())
            .finish()
    }
}

impl Engine {
    /// An engine for `max_instances` calls at once, of components that `compiler` compiles.
    pub fn new(max_instances: u32, compiler: Compiler) -> Result<Self, EngineError> {
        let max_instances = max_instances.max(1);
        let mut config = base_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(max_instances)));
        let inner = wasmtime::Engine::new(&config).or_else(|error| {
            // The pool reserves address space, which a container may be short of. Instances that are
            // mapped one by one cost some 30 µs more a call and are the same otherwise.
            tracing::warn!(%error, "no pool for plugin instances; they are made on demand");
            wasmtime::Engine::new(&base_config()).map_err(EngineError::Engine)
        })?;
        let ticker = Ticker::start(inner.weak()).map_err(EngineError::Ticker)?;
        Ok(Self {
            inner,
            slots: Arc::new(Semaphore::new(max_instances as usize)),
            for_calls: (max_instances as usize).div_ceil(2),
            compiler,
            _ticker: Arc::new(ticker),
        })
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }

    pub(super) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Waits for a free instance. None only once the semaphore is closed, which nobody does.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.acquire().await.ok()
    }

    /// A place for an instance that nobody calls yet. Half of all places are for calls alone, so that
    /// none waits for what may never be called.
    pub(super) fn spare_slot(&self) -> Option<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        (self.slots.available_permits() >= self.for_calls).then_some(slot)
    }
}

/// What decides on the form of compiled components: the same for whoever compiles and whoever runs them.
pub(super) fn base_config() -> Config {
    let mut config = Config::new();
    // For any processor of this architecture, so that what one machine compiled serves on all: an image's
    // many hosts, or those that share a disk. The check for a target that cannot be ours comes at the load.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    if let Err(error) = config.target(&host) {
        tracing::warn!(%error, "plugins are compiled for this processor alone");
    }
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        // Only for the log of a trap; a deep recursion shall not fill it.
        .wasm_backtrace_max_frames(NonZeroUsize::new(16))
        // A fiber's stack holds the guest's frames and those of a host function it called.
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20);
    config
}

/// Room for `max_instances` components at once. Everything here is address space until it is used;
/// a component that needs more is refused at its trial instantiation, not in the middle of a task.
fn pool(max_instances: u32) -> PoolingAllocationConfig {
    // A Rust or C component has 2 core instances and 1 table; JavaScript and Python with their
    // WASI shims were seen with tens of both.
    const INSTANCES: u32 = 60;
    const TABLES: u32 = 60;
    // One for the program; a second where a toolchain's adapter brings its own, a third where another
    // part of it stubs WASI (componentize-qjs).
    const MEMORIES: u32 = 4;

    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(max_instances)
        .max_core_instances_per_component(INSTANCES)
        .total_core_instances(max_instances.saturating_mul(INSTANCES))
        .max_tables_per_component(TABLES)
        .total_tables(max_instances.saturating_mul(TABLES))
        .max_memories_per_component(MEMORIES)
        .total_memories(max_instances.saturating_mul(MEMORIES))
        // One fiber a call.
        .total_stacks(max_instances)
        // Interpreters export hundreds of functions: above the default of 1 MiB for Python.
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        // StarlingMonkey and CPython fill tables of 10,000 to 15,000 functions.
        .table_elements(20_000)
        .max_memory_size(usize::try_from(MAX_MEMORY).unwrap_or(usize::MAX))
        // What a small guest touches is wiped in place, which is cheaper than to map it anew: with
        // the 64 KiB stack that our build asks for, stack and data take two pages of 64 KiB, and the
        // allocator takes a third as its first. (`pagemap_scan` would wipe less, but leaves a
        // descriptor of `/proc/self/pagemap` open in every process that is started from here.)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(8 << 10)
        .async_stack_keep_resident(64 << 10);
    pool
}

/// The thread that increments the engine's epoch until it is dropped.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::EngineWeak) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new()
            .name("wasm-ticker".to_owned())
            .spawn(move || {
                // On an absolute schedule: sleeping for a tick after each tick drifts, and deadlines
                // counted in ticks drift with it.
                let mut next = Instant::now() + TICK;
                loop {
                    let wait = next.saturating_duration_since(Instant::now());
                    if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                    let Some(engine) = engine.upgrade() else {
                        return;
                    };
                    engine.increment_epoch();
                    next += TICK;
                    // After a long pause (a suspended machine) missed ticks are not made up for.
                    next = next.max(Instant::now());
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // Ends at once: its channel is closed. A panic in it would have been logged by std.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wasm::cache;

    #[test]
    fn the_ticker_ends_with_the_last_engine() {
        let engine = Engine::new(2, Compiler::here()).unwrap();
        let weak = engine.inner().weak();
        let clone = engine.clone();
        drop(engine);
        assert!(weak.upgrade().is_some());
        drop(clone);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn what_is_compiled_apart_fits_the_engine_that_has_a_pool() {
        let hash = |engine: &wasmtime::Engine| cache::key("", engine);
        let apart = wasmtime::Engine::new(&base_config()).unwrap();
        let pooled = Engine::new(2, Compiler::here()).unwrap();
        assert_eq!(hash(&apart), hash(pooled.inner()));
    }

    #[tokio::test]
    async fn no_more_calls_run_at_once_than_configured() {
        let engine = Engine::new(1, Compiler::here()).unwrap();
        let first = engine.slot().await.unwrap();
        assert_eq!(engine.slots.available_permits(), 0);
        drop(first);
        assert_eq!(engine.slots.available_permits(), 1);
    }

    #[test]
    fn half_of_the_places_are_for_calls_alone() {
        let engine = Engine::new(3, Compiler::here()).unwrap();
        let spare = engine.spare_slot().unwrap();
        assert!(engine.spare_slot().is_none());
        drop(spare);
        assert_eq!(engine.slots.available_permits(), 3);
        assert!(
            Engine::new(1, Compiler::here())
                .unwrap()
                .spare_slot()
                .is_none()
        );
    }
}
