//! What can end a job from outside: a cancel request in the record, a signal, a lost lease, the clock.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::task::{Ending, Lease, Reason, TaskError, TaskId, Tasks, names};

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
    watcher: Arc<OnceLock<AbortHandle>>,
}

impl Interrupt {
    /// Renews the lease and watches the record and the signals until [`Interrupt::stop`].
    pub(super) fn watch(tasks: &Tasks, id: &TaskId, lease: Lease, heartbeat: Duration) -> Self {
        let interrupt = Self {
            token: CancellationToken::new(),
            cause: Arc::new(OnceLock::new()),
            watcher: Arc::new(OnceLock::new()),
        };
        let watching = watch(
            interrupt.clone(),
            tasks.clone(),
            id.clone(),
            lease,
            heartbeat,
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

async fn watch(
    interrupt: Interrupt,
    tasks: Tasks,
    id: TaskId,
    mut lease: Lease,
    heartbeat: Duration,
) {
    let (mut terminate, mut hang_up) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(hang_up)) => (terminate, hang_up),
        (Err(error), _) | (_, Err(error)) => {
            warn!(%error, "cannot listen for signals");
            return interrupt.raise(Cause::Terminated);
        }
    };
    let mut changes = tasks.bucket().watch(&names::session(&id));
    let mut beat = tokio::time::interval(heartbeat);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => interrupt.raise(Cause::Terminated),
            _ = hang_up.recv() => interrupt.raise(Cause::Terminated),
            _ = beat.tick() => renew(&interrupt, &mut lease).await,
            // Without hints the record is still read at every heartbeat.
            () = changes.changed(heartbeat) => look_for_cancel(&interrupt, &tasks, &id).await,
        }
    }
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
