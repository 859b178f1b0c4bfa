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

/// Three things at once, so that a storage that hangs in one holds up no other.
async fn watch(
    interrupt: Interrupt,
    tasks: Tasks,
    id: TaskId,
    lease: Lease,
    (length, heartbeat): (Duration, Duration),
) {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            warn!(%error, "cannot listen for signals");
            return interrupt.raise(Cause::Terminated);
        }
    };
    let (reach, reaches) = tokio::sync::watch::channel(length);
    tokio::join!(
        obey(signals, &interrupt, &tasks, &id, &reach),
        keep(&interrupt, lease, reaches, heartbeat),
        keep_looking(&interrupt, &tasks, &id, heartbeat, reach.subscribe()),
    );
}

/// Does what signals say; how far the lease is to reach goes to `reach`.
async fn obey(
    mut signals: Signals,
    interrupt: &Interrupt,
    tasks: &Tasks,
    id: &TaskId,
    reach: &tokio::sync::watch::Sender<Duration>,
) {
    let length = *reach.borrow();
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => end(interrupt, tasks, id).await,
            _ = signals.interrupt.recv() => end(interrupt, tasks, id).await,
            _ = signals.pause.recv() => {
                info!("about to stand still for a while");
                reach.send_replace(MOVES_WITHIN);
            }
            _ = signals.go_on.recv() => {
                info!("going on");
                reach.send_replace(length);
            }
        }
    }
}

/// Renews the lease at every heartbeat, and at once where it is to reach farther or not as far.
async fn keep(
    interrupt: &Interrupt,
    mut lease: Lease,
    mut reach: tokio::sync::watch::Receiver<Duration>,
    heartbeat: Duration,
) {
    let mut beat = tokio::time::interval(heartbeat);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            Ok(()) = reach.changed() => lease.set_length(*reach.borrow_and_update()),
        }
        renew(interrupt, &mut lease).await;
    }
}

/// Looks for a request to end; not every storage gives hints.
async fn keep_looking(
    interrupt: &Interrupt,
    tasks: &Tasks,
    id: &TaskId,
    heartbeat: Duration,
    mut reach: tokio::sync::watch::Receiver<Duration>,
) {
    let mut changes = tasks.bucket().watch(&names::session(id));
    let mut look = tokio::time::interval(LOOK.min(heartbeat));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = changes.changed(Duration::MAX) => {}
            // It stood still, perhaps, and much may have happened.
            Ok(()) = reach.changed() => {}
        }
        look_for_cancel(interrupt, tasks, id).await;
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
