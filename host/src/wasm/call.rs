//! One call: wait for a place, make store and instance, run within every limit, say how it ended.

use std::time::{Duration, Instant};

use tokio::time::error::Elapsed;
use wasmtime::component::Resource;
use wasmtime::{Store, Trap, UpdateDeadline};

use super::ahead::Ready;
use super::bindings::tool_permission::ToolPermission;
use super::bindings::{Answer, Description, Opinion};
use super::component::{Component, Pre};
use super::guest::{Guest, Reach};
use super::limits::HANDLES;
use super::output::cut;

/// Time for what is asked once, when a plugin is loaded: `describe` and `check-settings` may be the
/// first use of a large component on a slow machine.
const LOAD_TIME: Duration = Duration::from_secs(5);

/// Beside the bytes of texts, records and lists have a size of their own when they cross.
const FRAME: u64 = 4096;

/// Bytes of a trap's message that are kept for the log.
const TRAP: usize = 1024;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome<T> {
    /// The guest answered.
    Done(T),
    /// It gave up, broke a rule, or a host function could not go on. For the log, not for callers.
    Trapped(String),
    /// It took too long.
    TimedOut,
    /// It needed more memory than it may have, and could not do without.
    OutOfMemory,
    /// It handed over more than it may.
    TooBig,
}

/// A call that is over.
#[derive(Clone, Debug)]
pub struct Call<T> {
    /// How it ended.
    pub outcome: CallOutcome<T>,
    /// The last rule that the guest cited.
    pub cited: Option<String>,
    /// Time in the plugin, waiting for a place not; instantiation included where the instance was made for
    /// the call and not ahead of it.
    pub time: Duration,
    /// Bytes of linear memory that the instance had at the end: memories never shrink.
    pub memory: u64,
}

/// A call that has begun: its store, and since when it runs.
pub(super) struct Running {
    pub(super) store: Store<Guest>,
    pub(super) limit: Duration,
    since: Instant,
}

/// Calls one export of one world on a fresh instance. A macro, because the bindings of the worlds
/// are types of their own and a future that borrows its store cannot be told to be `Send` through a
/// generic closure.
macro_rules! call {
    ($component:expr, $limit:expr, $reach:expr, |$store:ident| $($world:ident($pre:ident) => $call:expr),+) => {{
        let component = $component;
        let Some(_slot) = component.engine.slot().await else {
            return Call { outcome: CallOutcome::Trapped("no instances".to_owned()), cited: None, time: Duration::ZERO, memory: 0 };
        };
        let mut running = Running::begin(component, $limit, $reach);
        let ended = {
            let $store = &mut running.store;
            let limit = running.limit;
            match &component.pre {
                $(Pre::$world($pre) => tokio::time::timeout(limit, async {
                    let $pre = $pre.instantiate_async(&mut *$store).await?;
                    $call.await
                }).await,)+
                #[allow(unreachable_patterns, reason = "some exports are in every world")]
                _ => Ok(Err(WrongWorld.into())),
            }
        };
        running.end(ended)
    }};
}

/// A component was asked what its world does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the component's world has no such function")]
struct WrongWorld;

impl Component {
    /// Asks a plugin about itself. The first instantiation, and with it the check of all types.
    pub async fn describe(&self) -> Call<Description> {
        call!(self, LOAD_TIME, Reach::default(), |store|
        Validator(instance) => async {
            Ok(instance.gatehouse_plugin_about().call_describe(store).await?.into())
        },
        ToolPermission(instance) => async {
            Ok(instance.gatehouse_plugin_about().call_describe(store).await?.into())
        },
        PostExecution(instance) => async {
            Ok(instance.gatehouse_plugin_about().call_describe(store).await?.into())
        })
    }

    /// Asks a plugin whether its settings are right.
    pub async fn check_settings(&self) -> Call<Result<(), String>> {
        let settings = &*self.terms.settings;
        call!(self, LOAD_TIME, Reach::default(), |store|
            Validator(instance) => instance.gatehouse_plugin_about().call_check_settings(store, settings),
            ToolPermission(instance) => instance.gatehouse_plugin_about().call_check_settings(store, settings),
            PostExecution(instance) => instance.gatehouse_plugin_about().call_check_settings(store, settings))
    }

    /// Asks a validator about `reach.task`.
    pub async fn validate(&self, reach: Reach) -> Call<Result<Answer, String>> {
        call!(self, self.terms.limits.time, reach, |store| Validator(instance) => async {
            let answer = instance
                .gatehouse_plugin_validation()
                .call_validate(store, Resource::new_own(0))
                .await?;
            Ok(answer.map(Answer::from))
        })
    }

    /// Asks a tool-permission plugin about `reach.call`, by the instance that was made ahead where there is
    /// one.
    pub async fn decide(&self, reach: Reach) -> Call<Result<Opinion, String>> {
        let limit = self.terms.limits.time;
        let ready = self
            .ahead
            .as_ref()
            .and_then(|ahead| Some((ahead, ahead.take()?)));
        let Some((
            ahead,
            Ready {
                store,
                instance,
                slot,
            },
        )) = ready
        else {
            return call!(self, limit, reach, |store| ToolPermission(instance) => judge(store, &instance));
        };
        let mut running = Running::resume(self, limit, reach, store);
        let judged = judge(&mut running.store, &instance);
        let ended = tokio::time::timeout(limit, judged).await;
        let call = running.end(ended);
        ahead.leave((running.store, slot));
        call
    }

    /// Makes an instance for the next tool call, where this is [kept ready](Self::kept_ready) and none is
    /// there; for whoever has just answered one.
    pub async fn prepare(&self) {
        if let Some(ahead) = &self.ahead {
            ahead.prepare(self).await;
        }
    }

    /// Asks a post-execution plugin whether an action's options are right. Somebody waits for the
    /// answer, so the time for a whole action is not what this may take.
    pub async fn check_options(&self, options: &str) -> Call<Result<(), String>> {
        let limit = self.terms.limits.time.min(LOAD_TIME);
        call!(self, limit, Reach::default(), |store| PostExecution(instance) =>
            instance.gatehouse_plugin_post_action().call_check_options(store, options))
    }

    /// Runs a post-execution plugin.
    pub async fn run(&self, reach: Reach, options: &str) -> Call<Result<String, String>> {
        call!(self, self.terms.limits.time, reach, |store| PostExecution(instance) =>
            instance
                .gatehouse_plugin_post_action()
                .call_run(store, Resource::new_own(0), Resource::new_own(0), options))
    }
}

async fn judge(
    store: &mut Store<Guest>,
    instance: &ToolPermission,
) -> wasmtime::Result<Result<Opinion, String>> {
    let opinion = instance
        .gatehouse_plugin_tool_policy()
        .call_decide(store, Resource::new_own(0), Resource::new_own(0))
        .await?;
    Ok(opinion.map(Opinion::from))
}

impl Running {
    pub(super) fn begin(component: &Component, limit: Duration, reach: Reach) -> Self {
        let guest = Guest::new(&component.terms, reach);
        let mut store = Store::new(component.engine.inner(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_max_component_handles(HANDLES);
        Self::armed(component, limit, store)
    }

    /// Begins a call on a store whose instance stands ready.
    fn resume(
        component: &Component,
        limit: Duration,
        reach: Reach,
        mut store: Store<Guest>,
    ) -> Self {
        store.data_mut().serve(reach);
        Self::armed(component, limit, store)
    }

    fn armed(component: &Component, limit: Duration, mut store: Store<Guest>) -> Self {
        let output = component.terms.limits.output.saturating_add(FRAME);
        store.set_hostcall_fuel(usize::try_from(output).unwrap_or(usize::MAX));
        let since = Instant::now();
        // A guest that computes gives way at every tick, so that the wall clock below can fire and
        // other tasks of this thread go on; past the deadline it is interrupted here.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            Ok(if since.elapsed() >= limit {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Yield(1)
            })
        });
        Self {
            store,
            limit,
            since,
        }
    }

    /// `ended` is the call's own result within that of the wall clock, which alone can cut a guest
    /// that waits in a host function.
    fn end<T>(&self, ended: Result<wasmtime::Result<T>, Elapsed>) -> Call<T> {
        let time = self.since.elapsed();
        let guest = self.store.data();
        let outcome = match ended {
            Ok(Ok(answer)) => CallOutcome::Done(answer),
            Ok(Err(error)) => fault(&error, guest),
            Err(Elapsed { .. }) => CallOutcome::TimedOut,
        };
        Call {
            outcome,
            cited: guest.cited.clone(),
            time,
            memory: guest.limiter.memory(),
        }
    }
}

fn fault<T>(error: &wasmtime::Error, guest: &Guest) -> CallOutcome<T> {
    if let Some(Trap::Interrupt) = error.downcast_ref() {
        return CallOutcome::TimedOut;
    }
    if guest.limiter.refused() {
        return CallOutcome::OutOfMemory;
    }
    // The error of a call that handed over too much is of a private type, whose derived `Debug` is
    // its name; a test with a guest that does it keeps this true.
    if format!("{:?}", error.root_cause()) == "HostcallFuelExhausted" {
        return CallOutcome::TooBig;
    }
    // What happened, without the frames: those are of use to the plugin's author only.
    tracing::debug!(
        plugin = &*guest.name,
        error = cut(&format!("{error:#}"), TRAP),
        "a plugin trapped"
    );
    CallOutcome::Trapped(cut(&error.root_cause().to_string(), TRAP).to_owned())
}
