//! Who follows which task: a task that was started by `/run` ends when nobody does any more.
//!
//! Counts followers per task. When the last one vanishes and none comes back within the grace, the
//! task is named to whoever asked for it. Knows nothing of streams or of how a task is ended.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::task::TaskId;

/// The followers of all tasks that need one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Presence {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    grace: Duration,
    watched: Mutex<HashMap<TaskId, Watched>>,
    abandoned: mpsc::UnboundedSender<TaskId>,
    /// The gateway stops: connections end because of us, which abandons nobody.
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Watched {
    followers: usize,
    /// Rises whenever a follower comes: tells a wait that it is out of date.
    arrivals: u64,
}

/// One follower; vanishes when dropped.
#[derive(Debug)]
pub struct Follower {
    presence: Presence,
    id: TaskId,
}

impl Presence {
    /// Also where tasks are named that nobody followed for `grace`. There are never more of them than
    /// the queue has places.
    pub fn new(grace: Duration) -> (Self, mpsc::UnboundedReceiver<TaskId>) {
        let (abandoned, tasks) = mpsc::unbounded_channel();
        let (watched, closed) = (Mutex::default(), CancellationToken::new());
        (
            Self {
                shared: Arc::new(Shared {
                    grace,
                    watched,
                    abandoned,
                    closed,
                }),
            },
            tasks,
        )
    }

    /// Somebody follows the task from now on.
    pub fn follow(&self, id: &TaskId) -> Follower {
        let mut watched = self.watched();
        let watched = watched.entry(id.clone()).or_default();
        watched.followers += 1;
        watched.arrivals += 1;
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
            watched.arrivals
        };
        let (presence, id) = (self.clone(), id.clone());
        let wait = async move {
            tokio::select! {
                biased;
                () = presence.shared.closed.cancelled() => {}
                () = tokio::time::sleep(presence.shared.grace) => presence.give_up(id, arrivals),
            }
        };
        // A follower can be dropped together with the runtime; then there is nobody left to tell.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(wait);
        }
    }

    /// Names the task, unless somebody came since.
    fn give_up(&self, id: TaskId, arrivals: u64) {
        let mut watched = self.watched();
        if let Entry::Occupied(entry) = watched.entry(id)
            && entry.get().arrivals == arrivals
        {
            let (id, _) = entry.remove_entry();
            // Nobody listens once the gateway has stopped.
            let _ = self.shared.abandoned.send(id);
        }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<TaskId, Watched>> {
        self.shared
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        let (presence, mut abandoned) = Presence::new(Duration::ZERO);
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
        let (presence, mut abandoned) = Presence::new(LONG);
        drop(presence.follow(&id("t")));
        let follower = presence.follow(&id("t"));
        presence.give_up(id("t"), 1);
        assert!(abandoned.try_recv().is_err());
        drop(follower);
        presence.give_up(id("t"), 1);
        assert!(abandoned.try_recv().is_err());
        presence.give_up(id("t"), 2);
        assert_eq!(abandoned.try_recv().unwrap(), id("t"));
        presence.give_up(id("t"), 2);
        assert!(abandoned.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_expected_follower_has_the_grace_too() {
        let (presence, mut abandoned) = Presence::new(Duration::ZERO);
        presence.expect(&id("a"));
        let _follower = presence.follow(&id("a"));
        presence.expect(&id("b"));
        assert_eq!(abandoned.recv().await, Some(id("b")));
        settle().await;
        assert!(abandoned.try_recv().is_err());
    }

    #[tokio::test]
    async fn nobody_is_abandoned_by_a_gateway_that_stops() {
        let (presence, mut abandoned) = Presence::new(Duration::ZERO);
        let follower = presence.follow(&id("t"));
        presence.close();
        drop(follower);
        settle().await;
        assert!(abandoned.try_recv().is_err());
    }
}
