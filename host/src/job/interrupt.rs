//! What can end a job from outside: a cancel request in the record, a signal, a lost lease, the clock.
//! And what only holds it up: a platform that moves it to another machine (SIGTSTP, then SIGCONT).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::LAST_WORK;
use crate::config;
use crate::task::{Ending, Lease, Reason, TaskError, TaskId, Tasks, names};

/// How far the lease reaches while the job may stand still on its way to another machine.
const MOVES_WITHIN: Duration = Duration::from_secs(5 * 60);

/// For a last look at the record before the job ends because it was told to.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Why the job is to end. The first cause counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody asked for the end of the task.
    Cancelled,
    /// `timeoutMinutes` is over.
    TimedOut,
    /// The platform told this process to end.
    Terminated,
    /// Another job holds the task now, or it was settled: nothing may be written any more.
    LeaseLost,
    /// The record is damaged: nothing can be written any more.
    RecordLost,
}

impl Cause {
    pub(super) fn into_ending(self) -> Ending {
        match self {
            Self::Cancelled => Ending::cancelled(),
            Self::TimedOut => Ending::failed(
                Reason::TimedOut,
                "Process timed out: timeoutMinutes is over",
            ),
            Self::Terminated => {
                Ending::failed(Reason::Killed, "The job was told to end by its platform")
            }
            Self::LeaseLost => Ending::failed(Reason::Lost, "The job lost its lease"),
            Self::RecordLost => Ending::failed(Reason::Internal, "The record is damaged"),
        }
    }
}

/// A token that is cancelled when the job is to end, and the cause.
#[derive(Clone, Debug)]
pub(super) struct Interrupt {
    token: CancellationToken,
    cause: Arc<OnceLock<Cause>>,
    /// Cancelled once the platform counts the seconds.
    told_to_end: CancellationToken,
    watcher: Arc<OnceLock<AbortHandle>>,
}

impl Interrupt {
    /// Renews the lease and watches the record and the signals until [`Interrupt::stop`].
    pub(super) fn watch(tasks: &Tasks, id: &TaskId, lease: Lease, settings: &config::Job) -> Self {
        let interrupt = Self {
            token: CancellationToken::new(),
            cause: Arc::new(OnceLock::new()),
            told_to_end: CancellationToken::new(),
            watcher: Arc::new(OnceLock::new()),
        };
        let watching = watch(
            interrupt.clone(),
            tasks.clone(),
            id.clone(),
            lease,
            (settings.lease, settings.heartbeat),
        );
        let _first = interrupt.watcher.set(tokio::spawn(watching).abort_handle());
        interrupt
    }

    /// Ends the watching; the lease is left to run out or to be deleted with the task.
    pub(super) fn stop(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.abort();
        }
    }

    /// Returns when the job was told to end and has to write how, or is killed before.
    pub(super) async fn out_of_time(&self) {
        self.told_to_end.cancelled().await;
        tokio::time::sleep(LAST_WORK).await;
    }

    pub(super) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }

    pub(super) fn raise(&self, cause: Cause) {
        if self.cause.set(cause).is_ok() {
            self.token.cancel();
        }
    }
}

/// How often the record is read for a request to end, without a hint.
const LOOK: Duration = Duration::from_secs(2);

/// What a platform tells a process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// It is about to stand still. Whoever does not listen stands still at once.
    pause: Signal,
    go_on: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            pause: signal(SignalKind::from_raw(nix::libc::SIGTSTP))?,
            go_on: signal(SignalKind::from_raw(nix::libc::SIGCONT))?,
        })
    }
}

async fn watch(
    interrupt: Interrupt,
    tasks: Tasks,
    id: TaskId,
    mut lease: Lease,
    (length, heartbeat): (Duration, Duration),
) {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            warn!(%error, "cannot listen for signals");
            return interrupt.raise(Cause::Terminated);
        }
    };
    let mut changes = tasks.bucket().watch(&names::session(&id));
    let mut beat = tokio::time::interval(heartbeat);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut look = tokio::time::interval(LOOK.min(heartbeat));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => end(&interrupt, &tasks, &id).await,
            _ = signals.interrupt.recv() => end(&interrupt, &tasks, &id).await,
            _ = signals.pause.recv() => {
                info!("about to stand still for a while");
                lease.set_length(MOVES_WITHIN);
                renew(&interrupt, &mut lease).await;
            }
            _ = signals.go_on.recv() => {
                info!("going on");
                lease.set_length(length);
                renew(&interrupt, &mut lease).await;
                look_for_cancel(&interrupt, &tasks, &id).await;
            }
            _ = beat.tick() => renew(&interrupt, &mut lease).await,
            // Not every storage gives hints.
            _ = look.tick() => look_for_cancel(&interrupt, &tasks, &id).await,
            () = changes.changed(Duration::MAX) => look_for_cancel(&interrupt, &tasks, &id).await,
        }
    }
}

/// Told to end, perhaps because the task was cancelled, which the record tells.
async fn end(interrupt: &Interrupt, tasks: &Tasks, id: &TaskId) {
    interrupt.told_to_end.cancel();
    let _late = tokio::time::timeout(LAST_LOOK, look_for_cancel(interrupt, tasks, id)).await;
    interrupt.raise(Cause::Terminated);
}

async fn renew(interrupt: &Interrupt, lease: &mut Lease) {
    match lease.renew().await {
        Ok(true) => {}
        Ok(false) => interrupt.raise(Cause::LeaseLost),
        // The lease is still ours; the next beat tries again.
        Err(error) => warn!(%error, "cannot renew the lease"),
    }
}

async fn look_for_cancel(interrupt: &Interrupt, tasks: &Tasks, id: &TaskId) {
    match tasks.get(id).await {
        Ok(Some(record)) if record.cancel.is_some() => interrupt.raise(Cause::Cancelled),
        Ok(_) => {}
        Err(error @ TaskError::Damaged { .. }) => {
            warn!(%error, "the task can only be ended by the gateway");
            interrupt.raise(Cause::RecordLost);
        }
        Err(error) => warn!(%error, "cannot read the record"),
    }
}
