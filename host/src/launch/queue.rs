//! Who waits, who has a job, and how many more may come. Pure bookkeeping: no clock, no storage.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::QueueFull;
use super::dispatcher::Full;
use crate::config;
use crate::task::{Record, TaskId};

/// A guess of how long a task takes, until one has ended.
const FIRST_GUESS: Duration = Duration::from_secs(60);

/// Weight of the newest task in the moving average.
const NEWEST: f64 = 0.2;

/// Nobody is asked to come back sooner or later than this.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Whose a task is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// As in the record.
    pub caller: String,
    /// As in the record.
    pub tenant: String,
}

impl Owner {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            caller: record.caller.clone(),
            tenant: record.tenant.clone(),
        }
    }
}

/// How many unfinished tasks one may have; none: as many as there are places.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    per_caller: Option<usize>,
    per_tenant: Option<usize>,
}

impl Shares {
    pub(super) fn by(limits: &config::Limits) -> Self {
        let share = |number: u32| usize::try_from(number).ok().filter(|number| *number > 0);
        Self {
            per_caller: share(limits.unfinished_per_caller),
            per_tenant: share(limits.unfinished_per_tenant),
        }
    }
}

/// Tasks of this gateway that are not over.
#[derive(Debug)]
pub(super) struct Queue {
    max_running: usize,
    max_waiting: usize,
    shares: Shares,
    reserved: Vec<Owner>,
    /// Of every task that waits or runs.
    owners: HashMap<TaskId, Owner>,
    waiting: VecDeque<TaskId>,
    /// Each with the token that says its end is overdue.
    running: HashMap<TaskId, CancellationToken>,
    /// Those of them that take no place here: another gateway started their jobs.
    elsewhere: HashSet<TaskId>,
    /// Tasks that another gateway took, and that were found here: they are in nobody's share, and keep
    /// nobody out of the line.
    guests: HashSet<TaskId>,
    average: Duration,
}

impl Queue {
    pub(super) fn new(max_running: u32, max_waiting: u32, shares: Shares) -> Self {
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            max_running: size(max_running),
            max_waiting: size(max_waiting),
            shares,
            reserved: Vec::new(),
            owners: HashMap::new(),
            waiting: VecDeque::new(),
            running: HashMap::new(),
            elsewhere: HashSet::new(),
            guests: HashSet::new(),
            average: FIRST_GUESS,
        }
    }

    /// Takes one of the places that tasks may wait at or run at. `unshared` is for whoever has no limit but
    /// the places.
    pub(super) fn reserve(&mut self, owner: &Owner, unshared: bool) -> Result<(), QueueFull> {
        let full = |of| QueueFull {
            of,
            retry_after: self.retry_after(),
        };
        let free_to_run = self.max_running.saturating_sub(self.places_taken());
        let taken = self.reserved.len() + self.waiting();
        if taken >= self.max_waiting.saturating_add(free_to_run) {
            return Err(full(Full::Queue));
        }
        let reached = |share: Option<usize>, is_theirs: &dyn Fn(&Owner) -> bool| {
            let ours = |(id, owner)| (!self.guests.contains(id)).then_some(owner);
            let all = self.owners.iter().filter_map(ours).chain(&self.reserved);
            share.is_some_and(|most| all.filter(|owner| is_theirs(owner)).count() >= most)
        };
        if !unshared && reached(self.shares.per_caller, &|other| other == owner) {
            return Err(full(Full::Caller));
        }
        if !unshared
            && reached(self.shares.per_tenant, &|other| {
                other.tenant == owner.tenant
            })
        {
            return Err(full(Full::Tenant));
        }
        self.reserved.push(owner.clone());
        Ok(())
    }

    /// Gives a reserved place back.
    pub(super) fn release(&mut self, owner: &Owner) {
        if let Some(place) = self.reserved.iter().position(|reserved| reserved == owner) {
            self.reserved.swap_remove(place);
        }
    }

    /// Last in the line, unless the task is known already.
    pub(super) fn push(&mut self, id: TaskId, owner: Owner) {
        if !self.knows(&id) {
            self.owners.insert(id.clone(), owner);
            self.waiting.push_back(id);
        }
    }

    /// The same for a task that another gateway took.
    pub(super) fn push_guest(&mut self, id: TaskId, owner: Owner) {
        if !self.knows(&id) {
            self.guests.insert(id.clone());
            self.push(id, owner);
        }
    }

    /// The first of the line, if it may run now; it counts as running from here on.
    pub(super) fn next(&mut self) -> Option<(TaskId, CancellationToken)> {
        if self.places_taken() >= self.max_running {
            return None;
        }
        let id = self.waiting.pop_front()?;
        let overdue = CancellationToken::new();
        self.running.insert(id.clone(), overdue.clone());
        Some((id, overdue))
    }

    /// How many of the places to run at are taken.
    pub(super) fn places_taken(&self) -> usize {
        self.running.len().saturating_sub(self.elsewhere.len())
    }

    /// How many tasks of this gateway wait.
    pub(super) fn waiting(&self) -> usize {
        let ours = |id: &&TaskId| !self.guests.contains(*id);
        self.waiting.iter().filter(ours).count()
    }

    /// Whether a running task takes a place here; it does not where another gateway started its job.
    pub(super) fn takes_place(&mut self, id: &TaskId, takes: bool) {
        if takes {
            self.elsewhere.remove(id);
        } else if self.running.contains_key(id) {
            self.elsewhere.insert(id.clone());
        }
    }

    /// Counts a task as running that did not come through the line; none where it is known. One of
    /// `elsewhere` takes no place and is in nobody's share.
    pub(super) fn adopt(
        &mut self,
        id: &TaskId,
        owner: Owner,
        elsewhere: bool,
    ) -> Option<CancellationToken> {
        if self.knows(id) {
            return None;
        }
        if elsewhere {
            self.elsewhere.insert(id.clone());
            self.guests.insert(id.clone());
        }
        self.owners.insert(id.clone(), owner);
        let overdue = CancellationToken::new();
        self.running.insert(id.clone(), overdue.clone());
        Some(overdue)
    }

    /// Takes a task out of the line; false where it is not in it.
    pub(super) fn withdraw(&mut self, id: &TaskId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting != id);
        let withdrawn = self.waiting.len() < before;
        if withdrawn {
            self.owners.remove(id);
            self.guests.remove(id);
        }
        withdrawn
    }

    /// Tells whoever attends a running task that its end was asked for.
    pub(super) fn ask_to_end(&self, id: &TaskId) {
        if let Some(overdue) = self.running.get(id) {
            overdue.cancel();
        }
    }

    /// A running task is attended no more; `took` where it was attended to its end.
    pub(super) fn done(&mut self, id: &TaskId, took: Option<Duration>) {
        self.running.remove(id);
        self.owners.remove(id);
        self.guests.remove(id);
        let was_elsewhere = self.elsewhere.remove(id);
        if let Some(took) = took.filter(|_| !was_elsewhere) {
            self.average = self
                .average
                .mul_f64(1.0 - NEWEST)
                .saturating_add(took.mul_f64(NEWEST));
        }
    }

    pub(super) fn knows(&self, id: &TaskId) -> bool {
        self.running.contains_key(id) || self.waiting.contains(id)
    }

    pub(super) fn is_waiting(&self, id: &TaskId) -> bool {
        self.waiting.contains(id)
    }

    /// All tasks, or those of one tenant.
    pub(super) fn tasks(&self, tenant: Option<&str>) -> Vec<TaskId> {
        let theirs = |id: &&TaskId| {
            let owner = self.owners.get(*id);
            tenant.is_none_or(|tenant| owner.is_some_and(|owner| owner.tenant == tenant))
        };
        let all = self.running.keys().chain(&self.waiting);
        all.filter(theirs).cloned().collect()
    }

    pub(super) fn max_running(&self) -> usize {
        self.max_running
    }

    /// Among that many tasks at once, one ends this often.
    fn retry_after(&self) -> Duration {
        let places = u32::try_from(self.max_running.max(1)).unwrap_or(u32::MAX);
        (self.average / places).clamp(RETRY.0, RETRY.1)
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

    fn id(text: &str) -> TaskId {
        text.parse().unwrap()
    }

    fn of(tenant: &str) -> Owner {
        Owner {
            caller: format!("key-{tenant}"),
            tenant: tenant.to_owned(),
        }
    }

    fn submit(queue: &mut Queue, text: &str) -> Result<(), QueueFull> {
        queue.reserve(&of(""), false)?;
        queue.release(&of(""));
        queue.push(id(text), of(""));
        Ok(())
    }

    #[test]
    fn tasks_run_in_the_order_in_which_they_came_as_places_free_up() {
        let mut queue = Queue::new(1, 10, Shares::default());
        for text in ["a", "b", "c"] {
            submit(&mut queue, text).unwrap();
        }
        assert_eq!(queue.next().unwrap().0, id("a"));
        assert!(queue.next().is_none());
        queue.done(&id("a"), None);
        assert_eq!(queue.next().unwrap().0, id("b"));
    }

    #[test]
    fn beyond_the_places_to_run_and_to_wait_nobody_is_taken() {
        let mut queue = Queue::new(2, 1, Shares::default());
        for text in ["a", "b", "c"] {
            submit(&mut queue, text).unwrap();
        }
        assert!(submit(&mut queue, "d").is_err());
        queue.next().unwrap();
        assert!(submit(&mut queue, "d").is_err());
        queue.done(&id("a"), None);
        submit(&mut queue, "d").unwrap();
    }

    #[test]
    fn a_reserved_place_is_taken_until_it_is_given_back() {
        let mut queue = Queue::new(1, 0, Shares::default());
        queue.reserve(&of(""), false).unwrap();
        assert!(queue.reserve(&of(""), false).is_err());
        queue.release(&of(""));
        queue.reserve(&of(""), false).unwrap();
    }

    #[test]
    fn a_task_is_never_in_the_line_twice() {
        let mut queue = Queue::new(1, 10, Shares::default());
        queue.push(id("a"), of(""));
        queue.push(id("a"), of(""));
        queue.next().unwrap();
        queue.push(id("a"), of(""));
        assert!(queue.adopt(&id("a"), of(""), false).is_none());
        assert_eq!(queue.tasks(None), [id("a")]);
    }

    #[test]
    fn what_runs_elsewhere_takes_no_place() {
        let mut queue = Queue::new(1, 0, Shares::default());
        queue.adopt(&id("theirs"), of(""), true).unwrap();
        submit(&mut queue, "ours").unwrap();
        assert_eq!(queue.next().unwrap().0, id("ours"));
        queue.done(&id("theirs"), None);
        assert!(submit(&mut queue, "more").is_err());
    }

    #[test]
    fn what_another_gateway_took_is_in_nobodys_share_and_keeps_nobody_waiting() {
        let shares = Shares {
            per_caller: Some(1),
            per_tenant: None,
        };
        let mut queue = Queue::new(1, 0, shares);
        queue.adopt(&id("watched"), of(""), true).unwrap();
        queue.push_guest(id("found"), of(""));
        assert_eq!((queue.waiting(), queue.places_taken()), (0, 0));
        assert_eq!(queue.tasks(None).len(), 2);
        submit(&mut queue, "ours").unwrap();
        assert_eq!(queue.reserve(&of(""), false).unwrap_err().of, Full::Queue);
        assert_eq!(queue.next().unwrap().0, id("found"));
        assert!(queue.next().is_none());
        queue.takes_place(&id("found"), false);
        assert_eq!(queue.next().unwrap().0, id("ours"));
        assert_eq!(queue.reserve(&of(""), true).unwrap_err().of, Full::Queue);
        queue.takes_place(&id("found"), true);
        for task in ["found", "ours", "watched"] {
            queue.done(&id(task), None);
        }
        assert_eq!(queue.places_taken(), 0);
        submit(&mut queue, "next").unwrap();
    }

    #[test]
    fn only_a_waiting_task_can_be_withdrawn_and_only_once() {
        let mut queue = Queue::new(1, 10, Shares::default());
        queue.push(id("a"), of(""));
        queue.push(id("b"), of(""));
        queue.next().unwrap();
        assert!(!queue.withdraw(&id("a")));
        assert!(queue.withdraw(&id("b")));
        assert!(!queue.withdraw(&id("b")));
    }

    #[test]
    fn the_wait_follows_from_how_long_recent_tasks_took() {
        let mut queue = Queue::new(2, 0, Shares::default());
        assert_eq!(queue.retry_after(), FIRST_GUESS / 2);
        for _ in 0..100 {
            queue.done(&id("a"), Some(Duration::from_secs(10)));
        }
        assert_eq!(queue.retry_after().as_secs(), 5);
        for _ in 0..100 {
            queue.done(&id("a"), Some(Duration::from_millis(1)));
        }
        assert_eq!(queue.retry_after(), RETRY.0);
        for _ in 0..100 {
            queue.done(&id("a"), Some(Duration::from_secs(86_400)));
        }
        assert_eq!(queue.retry_after(), RETRY.1);
    }

    #[test]
    fn nobody_takes_more_than_its_share_and_what_ends_frees_it() {
        let shares = Shares {
            per_caller: Some(1),
            per_tenant: Some(2),
        };
        let mut queue = Queue::new(10, 10, shares);
        let [one, other, third] = ["one", "other", "third"].map(|caller| Owner {
            caller: caller.to_owned(),
            tenant: "a".to_owned(),
        });
        let refused = |queue: &mut Queue, owner| queue.reserve(owner, false).unwrap_err().of;
        queue.reserve(&one, false).unwrap();
        assert_eq!(refused(&mut queue, &one), Full::Caller);
        queue.push(id("a"), one.clone());
        queue.release(&one);
        queue.next().unwrap();
        assert_eq!(refused(&mut queue, &one), Full::Caller);
        queue.reserve(&other, false).unwrap();
        assert_eq!(refused(&mut queue, &third), Full::Tenant);
        queue.reserve(&third, true).unwrap();
        queue.reserve(&of("b"), false).unwrap();
        assert_eq!(queue.tasks(Some("a")), [id("a")]);
        assert_eq!(queue.tasks(Some("b")), []);
        queue.release(&third);
        queue.done(&id("a"), None);
        queue.reserve(&one, false).unwrap();
    }
}
