//! Who waits, who has a job, and how many more may come. Pure bookkeeping: no clock, no storage.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::QueueFull;
use crate::task::TaskId;

/// A guess of how long a task takes, until one has ended.
const FIRST_GUESS: Duration = Duration::from_secs(60);

/// Weight of the newest task in the moving average.
const NEWEST: f64 = 0.2;

/// Nobody is asked to come back sooner or later than this.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Tasks of this gateway that are not over.
#[derive(Debug)]
pub(super) struct Queue {
    max_running: usize,
    max_waiting: usize,
    reserved: usize,
    waiting: VecDeque<TaskId>,
    /// Each with the token that says its end is overdue.
    running: HashMap<TaskId, CancellationToken>,
    /// Those of them that take no place here: another gateway started their jobs.
    elsewhere: HashSet<TaskId>,
    average: Duration,
}

impl Queue {
    pub(super) fn new(max_running: u32, max_waiting: u32) -> Self {
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            max_running: size(max_running),
            max_waiting: size(max_waiting),
            reserved: 0,
            waiting: VecDeque::new(),
            running: HashMap::new(),
            elsewhere: HashSet::new(),
            average: FIRST_GUESS,
        }
    }

    /// Takes one of the places that tasks may wait at or run at.
    pub(super) fn reserve(&mut self) -> Result<(), QueueFull> {
        let free_to_run = self.max_running.saturating_sub(self.places_taken());
        if self.reserved + self.waiting.len() >= self.max_waiting.saturating_add(free_to_run) {
            return Err(QueueFull {
                retry_after: self.retry_after(),
            });
        }
        self.reserved += 1;
        Ok(())
    }

    /// Gives a reserved place back.
    pub(super) fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Last in the line, unless the task is known already.
    pub(super) fn push(&mut self, id: TaskId) {
        if !self.knows(&id) {
            self.waiting.push_back(id);
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

    fn places_taken(&self) -> usize {
        self.running.len().saturating_sub(self.elsewhere.len())
    }

    /// Counts a task as running that did not come through the line; none where it is known. One of
    /// `elsewhere` takes no place.
    pub(super) fn adopt(&mut self, id: &TaskId, elsewhere: bool) -> Option<CancellationToken> {
        if self.knows(id) {
            return None;
        }
        if elsewhere {
            self.elsewhere.insert(id.clone());
        }
        let overdue = CancellationToken::new();
        self.running.insert(id.clone(), overdue.clone());
        Some(overdue)
    }

    /// Takes a task out of the line; false where it is not in it.
    pub(super) fn withdraw(&mut self, id: &TaskId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting != id);
        self.waiting.len() < before
    }

    /// Tells whoever attends a running task that its end was asked for.
    pub(super) fn ask_to_end(&self, id: &TaskId) {
        if let Some(overdue) = self.running.get(id) {
            overdue.cancel();
        }
    }

    /// A running task is attended no more; `took` where it ran from here to its end.
    pub(super) fn done(&mut self, id: &TaskId, took: Option<Duration>) {
        self.running.remove(id);
        self.elsewhere.remove(id);
        if let Some(took) = took {
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

    /// All tasks, and how many of them wait and run.
    pub(super) fn tasks(&self) -> (Vec<TaskId>, usize, usize) {
        let ids = self.running.keys().chain(&self.waiting).cloned().collect();
        (ids, self.waiting.len(), self.running.len())
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

    fn submit(queue: &mut Queue, text: &str) -> Result<(), QueueFull> {
        queue.reserve()?;
        queue.release();
        queue.push(id(text));
        Ok(())
    }

    #[test]
    fn tasks_run_in_the_order_in_which_they_came_as_places_free_up() {
        let mut queue = Queue::new(1, 10);
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
        let mut queue = Queue::new(2, 1);
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
        let mut queue = Queue::new(1, 0);
        queue.reserve().unwrap();
        assert!(queue.reserve().is_err());
        queue.release();
        queue.reserve().unwrap();
    }

    #[test]
    fn a_task_is_never_in_the_line_twice() {
        let mut queue = Queue::new(1, 10);
        queue.push(id("a"));
        queue.push(id("a"));
        queue.next().unwrap();
        queue.push(id("a"));
        assert!(queue.adopt(&id("a"), false).is_none());
        assert_eq!(queue.tasks(), (vec![id("a")], 0, 1));
    }

    #[test]
    fn what_runs_elsewhere_takes_no_place() {
        let mut queue = Queue::new(1, 0);
        queue.adopt(&id("theirs"), true).unwrap();
        submit(&mut queue, "ours").unwrap();
        assert_eq!(queue.next().unwrap().0, id("ours"));
        queue.done(&id("theirs"), None);
        assert!(submit(&mut queue, "more").is_err());
    }

    #[test]
    fn only_a_waiting_task_can_be_withdrawn_and_only_once() {
        let mut queue = Queue::new(1, 10);
        queue.push(id("a"));
        queue.push(id("b"));
        queue.next().unwrap();
        assert!(!queue.withdraw(&id("a")));
        assert!(queue.withdraw(&id("b")));
        assert!(!queue.withdraw(&id("b")));
    }

    #[test]
    fn the_wait_follows_from_how_long_recent_tasks_took() {
        let mut queue = Queue::new(2, 0);
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
}
