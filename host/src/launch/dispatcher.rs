//! The queue in front of the launcher.
//!
//! The line itself is in memory; every task in it is in the bucket first. After a restart, and every
//! few seconds, the bucket is looked through for unfinished tasks that nobody here attends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Launcher;
use super::attend::Attendant;
use super::duty::Duty;
use super::queue::{Owner, Queue, Shares};
use crate::config::Config;
use crate::envelope::Envelope;
use crate::task::{Record, TaskError, TaskId, Tasks};
use crate::webhook::Courier;

/// Ended tasks that whoever listens may be behind.
const ENDED: usize = 1024;

/// A place in the queue, held from before the task is stored; dropped unused it is free again.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    owner: Owner,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.queue().release(&self.owner);
    }
}

/// Every place is taken, or every one that somebody may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull {
    /// Whose places are taken.
    pub of: Full,
    /// When one may be free, from how long recent tasks took.
    pub retry_after: Duration,
}

/// Of which there are no more places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All there are.
    Queue,
    /// `auth.limits.unfinished_per_caller`
    Caller,
    /// `auth.limits.unfinished_per_tenant`
    Tenant,
}

/// What a cancel request met.
#[derive(Clone, Debug)]
pub enum Cancelled {
    /// The task is over as cancelled, or its job was told to end.
    Requested(Box<Record>),
    /// It was asked before.
    Already(Box<Record>),
    /// It had ended.
    Over(Box<Record>),
    /// There is no such task.
    Unknown,
}

/// Starts queued tasks as places free up, watches their jobs, ends what died.
#[derive(Debug)]
pub struct Dispatcher {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tasks: Tasks,
    pub(super) attendant: Attendant,
    /// Whether other gateways start and watch jobs too.
    pub(super) is_shared: bool,
    /// Never held over an await.
    queue: Mutex<Queue>,
    /// A task came into the line or a place became free.
    pub(super) moved: Notify,
    /// Tells of tasks that are over.
    ended: broadcast::Sender<TaskId>,
    pub(super) stop: CancellationToken,
    work: TaskTracker,
}

impl Dispatcher {
    /// Takes up every unfinished task of the bucket: queues what no job holds, watches what one
    /// does, ends as `lost` what one held and died, settles what was over. Of several gateways one does.
    /// `envelope` opens the requests
    /// of tasks whose records are damaged, to know to whom they are to be reported.
    pub async fn start(
        config: &Config,
        tasks: Tasks,
        envelope: Envelope,
        launcher: Arc<dyn Launcher>,
        courier: Arc<Courier>,
    ) -> Result<Arc<Self>, TaskError> {
        let stop = CancellationToken::new();
        let is_shared = launcher.is_shared();
        let shared = Arc::new(Shared {
            is_shared,
            attendant: Attendant::new(
                config,
                tasks.clone(),
                envelope,
                launcher,
                courier,
                stop.clone(),
            ),
            tasks,
            queue: Mutex::new(Queue::new(
                config.queue.max_concurrent,
                config.queue.max_waiting,
                Shares::by(&config.auth.limits),
            )),
            moved: Notify::new(),
            ended: broadcast::channel(ENDED).0,
            stop,
            work: TaskTracker::new(),
        });
        let duty = if is_shared {
            Duty::shared(Arc::clone(shared.tasks.bucket()))
        } else {
            let unfinished = shared.tasks.unfinished().await?;
            for record in &unfinished.records {
                shared.take_up(record);
            }
            shared.end_damaged(&unfinished.damaged).await;
            Duty::Always
        };
        shared.work.spawn(Arc::clone(&shared).hand_out_places());
        shared.work.spawn(Arc::clone(&shared).keep_looking(duty));
        Ok(Arc::new(Self { shared }))
    }

    /// Takes a place for a task that is about to be stored. `unshared` is for whoever has no limit but the
    /// places.
    pub fn reserve(&self, owner: Owner, unshared: bool) -> Result<Place, QueueFull> {
        self.shared.queue().reserve(&owner, unshared)?;
        Ok(Place {
            shared: Arc::clone(&self.shared),
            owner,
        })
    }

    /// Queues a stored task.
    pub fn submit(&self, place: Place, id: TaskId) {
        // In the line before the place is given back: in between the task counts twice, never not at all.
        self.shared.queue().push(id, place.owner.clone());
        drop(place);
        self.shared.moved.notify_one();
    }

    /// Asks for the end of a task: one that waits ends at once, one with a job ends by its job.
    pub async fn cancel(&self, id: &TaskId, by: &str) -> Result<Cancelled, TaskError> {
        self.shared.cancel(id, by).await
    }

    /// Tells of every task that this gateway saw to its end from now on.
    pub fn ended(&self) -> broadcast::Receiver<TaskId> {
        self.shared.ended.subscribe()
    }

    /// Whether other gateways start and watch jobs of the same tasks.
    pub fn is_shared(&self) -> bool {
        self.shared.is_shared
    }

    /// Starts no more jobs; those that run go on without us.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.work.close();
        self.shared.work.wait().await;
    }
}

impl Shared {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every method of the queue leaves it whole, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the line's first whenever there is a place.
    async fn hand_out_places(self: Arc<Self>) {
        loop {
            loop {
                let next = self.queue().next();
                match next {
                    Some((id, overdue)) if !self.stop.is_cancelled() => self.attend(id, overdue),
                    _ => break,
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.moved.notified() => {}
            }
        }
    }

    pub(super) fn attend(self: &Arc<Self>, id: TaskId, overdue: CancellationToken) {
        let shared = Arc::clone(self);
        self.work.spawn(async move {
            let since = Instant::now();
            let starts_here = |starts| shared.starts_here(&id, starts);
            let ended = shared.attendant.attend(&id, &overdue, starts_here).await;
            if let Err(error) = &ended {
                tracing::warn!(task = %id, %error, "a task is let go until the next look");
            }
            if ended.is_ok() {
                // There may be nobody who wants to know.
                let _ = shared.ended.send(id.clone());
            }
            shared
                .queue()
                .done(&id, ended.is_ok().then(|| since.elapsed()));
            shared.moved.notify_one();
        });
    }

    /// A job that another gateway starts takes no place here.
    fn starts_here(&self, id: &TaskId, starts: bool) {
        if self.is_shared {
            self.queue().takes_place(id, starts);
            self.moved.notify_one();
        }
    }

    async fn cancel(&self, id: &TaskId, by: &str) -> Result<Cancelled, TaskError> {
        let asked = match self.tasks.request_cancel(id, by).await {
            Ok(asked) => asked,
            Err(TaskError::Unknown(_)) => return Ok(Cancelled::Unknown),
            Err(error) => return Err(error),
        };
        if asked.record.status.is_terminal() {
            return Ok(Cancelled::Over(Box::new(asked.record)));
        }
        let ended = self.end_waiting(id).await?;
        self.queue().ask_to_end(id);
        let record = Box::new(ended.unwrap_or(asked.record));
        Ok(if asked.changed {
            Cancelled::Requested(record)
        } else {
            Cancelled::Already(record)
        })
    }

    /// Ends a task that is in the line; none where it is not, or no more.
    pub(super) async fn end_waiting(&self, id: &TaskId) -> Result<Option<Record>, TaskError> {
        let withdrawn = self.queue().withdraw(id);
        if !withdrawn {
            return Ok(None);
        }
        self.moved.notify_one();
        Ok(Some(self.attendant.end_unstarted(id).await?))
    }
}
