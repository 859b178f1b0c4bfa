//! Who follows which task: a task that was started by `/run` ends when nobody does any more.
//!
//! Counts followers per task. When the last one vanishes and none comes back within the grace, here or at
//! another gateway ([`Marks`]), the task is named to whoever asked for it. Knows nothing of streams or of how a
//! task is ended.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::task::{Absence, Marks, TaskId};

/// Marks are not renewed more often than this: Cloud Storage takes about one write a second to one object.
const PAUSE: Duration = Duration::from_secs(1);

/// A mark stands for this long at least.
const MARKED: Duration = Duration::from_secs(15);

/// A gateway that stops has so long to hand its tasks over, so many at once.
const HANDS_OVER_WITHIN: Duration = Duration::from_secs(2);
const HAND_OVERS: usize = 16;

/// The followers of all tasks that need one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Presence {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    grace: Duration,
    /// Where other gateways have the same tasks.
    marks: Option<Marks>,
    watched: Mutex<HashMap<TaskId, Watched>>,
    /// Of all followers of all tasks.
    arrivals: AtomicU64,
    abandoned: mpsc::UnboundedSender<TaskId>,
    /// The gateway stops: connections end because of us, which abandons nobody.
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Watched {
    followers: usize,
    /// Which arrival was the last: tells a wait that it is out of date.
    arrivals: u64,
    /// This gateway took the task and has not handed it over.
    is_ours: bool,
    /// Keeps telling other gateways that somebody follows it here.
    marking: Option<AbortOnDropHandle<()>>,
}

/// One follower; vanishes when dropped.
#[derive(Debug)]
pub struct Follower {
    presence: Presence,
    id: TaskId,
}

impl Presence {
    /// Also where tasks are named that nobody followed for `grace`. There are never more of them than
    /// the queue has places. With `marks` followers at other gateways count.
    pub fn new(grace: Duration, marks: Option<Marks>) -> (Self, mpsc::UnboundedReceiver<TaskId>) {
        let (abandoned, tasks) = mpsc::unbounded_channel();
        let (watched, closed) = (Mutex::default(), CancellationToken::new());
        let shared = Shared {
            grace,
            marks,
            watched,
            arrivals: AtomicU64::new(0),
            abandoned,
            closed,
        };
        let shared = Arc::new(shared);
        (Self { shared }, tasks)
    }

    /// Somebody follows the task, which this gateway has just taken, from now on.
    pub fn begin(&self, id: &TaskId) -> Follower {
        self.arrive(id, true)
    }

    /// Somebody follows the task from now on.
    pub fn follow(&self, id: &TaskId) -> Follower {
        self.arrive(id, false)
    }

    fn arrive(&self, id: &TaskId, took_it: bool) -> Follower {
        let mut all = self.watched();
        let watched = all.entry(id.clone()).or_default();
        watched.followers += 1;
        watched.arrivals = self.shared.arrivals.fetch_add(1, Ordering::Relaxed) + 1;
        watched.is_ours |= took_it;
        self.mark(id, watched);
        Follower {
            presence: self.clone(),
            id: id.clone(),
        }
    }

    /// The task needs a follower and has had none since now: after a restart of the gateway.
    pub fn expect(&self, id: &TaskId) {
        drop(self.follow(id));
    }

    /// From now on nobody is abandoned any more.
    pub fn close(&self) {
        self.shared.closed.cancel();
    }

    /// Closes, and leaves what this gateway took to those at which its followers come back.
    pub async fn stop(&self) {
        self.close();
        let Some(marks) = &self.shared.marks else {
            return;
        };
        let ours: Vec<TaskId> = {
            let watched = self.watched();
            let ours = watched.iter().filter(|(_, watched)| watched.is_ours);
            ours.map(|(id, _)| id.clone()).collect()
        };
        let hand_overs =
            futures::stream::iter(&ours).for_each_concurrent(HAND_OVERS, |id| async move {
                if let Err(error) = marks.hand_over(id).await {
                    tracing::warn!(task = %id, %error, "a followed task cannot be handed over");
                }
            });
        // Where that fails, a task that is abandoned elsewhere runs to its end.
        let _in_time = tokio::time::timeout(HANDS_OVER_WITHIN, hand_overs).await;
    }

    fn left(&self, id: &TaskId) {
        let arrivals = {
            let mut watched = self.watched();
            let Some(watched) = watched.get_mut(id) else {
                return;
            };
            watched.followers = watched.followers.saturating_sub(1);
            if watched.followers > 0 {
                return;
            }
            watched.marking = None;
            watched.arrivals
        };
        let (presence, id) = (self.clone(), id.clone());
        let wait = async move {
            tokio::select! {
                biased;
                () = presence.shared.closed.cancelled() => {}
                () = presence.wait_for_somebody(id, arrivals) => {}
            }
        };
        // A follower can be dropped together with the runtime; then there is nobody left to tell.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(wait);
        }
    }

    /// Names the task once nobody has followed it anywhere for the grace, unless somebody comes here.
    async fn wait_for_somebody(&self, id: TaskId, arrivals: u64) {
        let mut pause = self.shared.grace;
        loop {
            tokio::time::sleep(pause).await;
            pause = pause.max(PAUSE);
            let took_it = {
                let watched = self.watched();
                let watched = watched.get(&id).filter(|it| it.arrivals == arrivals);
                watched.map(|watched| watched.is_ours)
            };
            let (Some(took_it), Some(marks)) = (took_it, &self.shared.marks) else {
                break;
            };
            match marks.judge(&id, took_it).await {
                Ok(Absence::Abandoned) => break,
                Ok(Absence::FollowedElsewhere) => self.handed_over(&id),
                Ok(Absence::NotOurs) => {
                    self.forget(id, arrivals);
                    return;
                }
                Err(error) => {
                    tracing::warn!(task = %id, %error, "it is not known whether a task is followed elsewhere");
                }
            }
        }
        if let Some(id) = self.forget(id, arrivals) {
            // Nobody listens once the gateway has stopped.
            let _ = self.shared.abandoned.send(id);
        }
    }

    /// Another gateway may end the task now, so it must know of those who follow it here.
    fn handed_over(&self, id: &TaskId) {
        if let Some(watched) = self.watched().get_mut(id) {
            watched.is_ours = false;
            self.mark(id, watched);
        }
    }

    /// Begins to tell others that somebody follows the task here, where they must know.
    fn mark(&self, id: &TaskId, watched: &mut Watched) {
        let needed = !watched.is_ours && watched.followers > 0 && watched.marking.is_none();
        if let Some(marks) = self.shared.marks.clone().filter(|_| needed) {
            let marking = keep_marked(marks, id.clone(), self.shared.grace);
            watched.marking = Some(AbortOnDropHandle::new(tokio::spawn(marking)));
        }
    }

    /// Drops the task, unless somebody came since.
    fn forget(&self, id: TaskId, arrivals: u64) -> Option<TaskId> {
        match self.watched().entry(id) {
            Entry::Occupied(entry) if entry.get().arrivals == arrivals => {
                Some(entry.remove_entry().0)
            }
            _ => None,
        }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<TaskId, Watched>> {
        self.shared
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until the task is over; others wait for somebody to come back for as long as this gateway would.
async fn keep_marked(marks: Marks, id: TaskId, grace: Duration) {
    let pause = (grace / 2).max(PAUSE);
    // Also where the storage does not answer for a while.
    let length = grace.saturating_add(pause.saturating_mul(2)).max(MARKED);
    let mut anew = true;
    loop {
        match marks.leave(&id, length, anew).await {
            Ok(true) => anew = false,
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(task = %id, %error, "other gateways cannot be told who follows a task")
            }
        }
        tokio::time::sleep(pause).await;
    }
}

impl Follower {
    /// The task is over, so that nobody need follow it any more.
    pub fn task_is_over(self) {
        self.presence.watched().remove(&self.id);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.presence.left(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn id(text: &str) -> TaskId {
        text.parse().unwrap()
    }

    /// Lets everything run that can.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_task_is_abandoned_when_its_last_follower_stays_away() {
        let (presence, mut abandoned) = Presence::new(Duration::ZERO, None);
        let (one, other) = (presence.follow(&id("t")), presence.follow(&id("t")));
        drop(one);
        settle().await;
        assert!(abandoned.try_recv().is_err());
        drop(other);
        assert_eq!(abandoned.recv().await, Some(id("t")));
        assert!(presence.watched().is_empty());
    }

    #[tokio::test]
    async fn whoever_comes_back_in_time_starts_the_grace_anew() {
        let (presence, mut abandoned) = Presence::new(LONG, None);
        drop(presence.follow(&id("t")));
        let follower = presence.follow(&id("t"));
        assert_eq!(presence.forget(id("t"), 1), None);
        drop(follower);
        assert_eq!(presence.forget(id("t"), 1), None);
        assert_eq!(presence.forget(id("t"), 2), Some(id("t")));
        assert_eq!(presence.forget(id("t"), 2), None);
        settle().await;
        assert!(abandoned.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_expected_follower_has_the_grace_too() {
        let (presence, mut abandoned) = Presence::new(Duration::ZERO, None);
        presence.expect(&id("a"));
        let _follower = presence.follow(&id("a"));
        presence.expect(&id("b"));
        assert_eq!(abandoned.recv().await, Some(id("b")));
        settle().await;
        assert!(abandoned.try_recv().is_err());
    }

    #[tokio::test]
    async fn nobody_is_abandoned_by_a_gateway_that_stops() {
        let (presence, mut abandoned) = Presence::new(Duration::ZERO, None);
        let follower = presence.follow(&id("t"));
        presence.close();
        drop(follower);
        settle().await;
        assert!(abandoned.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_task_that_is_over_needs_nobody() {
        let (presence, mut abandoned) = Presence::new(Duration::ZERO, None);
        let (one, other) = (presence.begin(&id("t")), presence.follow(&id("t")));
        one.task_is_over();
        drop(other);
        settle().await;
        assert!(abandoned.try_recv().is_err());
        assert!(presence.watched().is_empty());
    }
}
