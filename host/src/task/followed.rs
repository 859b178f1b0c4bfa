//! `tasks/{id}/followed.json`: that a task which ends when nobody follows it is followed at another gateway
//! than the one that took it.
//!
//! A caller whose connection broke may come back anywhere. The gateway that it comes to leaves this mark and
//! renews it; the one that took the task looks at it before it ends the task, and leaves the end to the others
//! then. Where callers stay where they are, nothing is written or read.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{TaskError, TaskId, Tasks, names};
use crate::bucket::{BucketError, Durability, When};

/// How often a mark is changed anew because another gateway changed it in between.
const TRIES: u32 = 8;

/// The mark as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Followed {
    /// At which gateways, and until when somebody is believed to follow it there.
    at: BTreeMap<String, Timestamp>,
    /// The gateway that took the task has no followers any more: the last of the others ends it.
    taker_left: bool,
}

/// What is to become of a task that nobody follows here any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nobody follows it anywhere: it is for us to end it.
    Abandoned,
    /// Somebody follows it elsewhere; it may be for us to end it later.
    FollowedElsewhere,
    /// The gateway that took it decides.
    NotOurs,
}

/// The marks of one gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Marks {
    tasks: Tasks,
    /// Random.
    gateway: String,
}

impl Marks {
    /// Of a gateway that shares these tasks with others.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            tasks,
            gateway: uuid::Uuid::new_v4().to_string(),
        }
    }

    /// Notes that somebody follows the task here, for `length` from now. `anew` tells that no mark need stand
    /// there; else false where none does, because the task is over.
    pub async fn leave(
        &self,
        id: &TaskId,
        length: Duration,
        anew: bool,
    ) -> Result<bool, TaskError> {
        let mut stands = true;
        let renewed = |found: Option<Followed>| {
            stands = found.is_some();
            (anew || stands).then(|| self.mark(found.unwrap_or_default(), length))
        };
        self.change(id, renewed).await?;
        Ok(anew || stands)
    }

    /// Notes that the gateway that took the task, this one, has nobody here who follows it.
    pub async fn hand_over(&self, id: &TaskId) -> Result<(), TaskError> {
        let change = |found: Option<Followed>| {
            Some(Followed {
                taker_left: true,
                ..found.unwrap_or_default()
            })
        };
        self.change(id, change).await
    }

    /// Once nobody has followed the task here for long enough. `took_it` tells that this gateway took the task and
    /// did not hand it over; it is handed over where it is followed elsewhere.
    pub async fn judge(&self, id: &TaskId, took_it: bool) -> Result<Absence, TaskError> {
        let mut absence = Absence::NotOurs;
        let look = |found: Option<Followed>| {
            let is_left = found.as_ref().is_some_and(|mark| mark.taker_left);
            let now = Timestamp::now();
            let elsewhere = found.filter(|mark| {
                let mut others = mark.at.iter().filter(|(at, _)| **at != self.gateway);
                others.any(|(_, until)| *until > now)
            });
            absence = match &elsewhere {
                _ if !took_it && !is_left => Absence::NotOurs,
                Some(_) => Absence::FollowedElsewhere,
                None => Absence::Abandoned,
            };
            elsewhere.filter(|_| took_it).map(|mark| Followed {
                taker_left: true,
                ..mark
            })
        };
        self.change(id, look).await?;
        Ok(absence)
    }

    fn mark(&self, mut mark: Followed, length: Duration) -> Followed {
        let now = Timestamp::now();
        mark.at.retain(|_, until| *until > now);
        let until = now.saturating_add(length).unwrap_or(Timestamp::MAX);
        mark.at.insert(self.gateway.clone(), until);
        mark
    }

    /// Puts what `wanted` makes of the mark in its place, if it wants that.
    async fn change(
        &self,
        id: &TaskId,
        mut wanted: impl FnMut(Option<Followed>) -> Option<Followed> + Send,
    ) -> Result<(), TaskError> {
        let (bucket, name) = (self.tasks.bucket(), names::followed(id));
        let mut tries = 0;
        loop {
            let found = bucket.get(&name).await?;
            let when = found
                .as_ref()
                .map_or(When::Absent, |found| When::Matches(found.generation));
            // One that cannot be read says nothing.
            let mark = found.and_then(|found| serde_json::from_slice(&found.data).ok());
            let Some(mark) = wanted(mark) else {
                return Ok(());
            };
            let data = serde_json::json!(mark).to_string().into();
            match bucket.put(&name, data, when, Durability::Buffered).await {
                Ok(_) => return Ok(()),
                Err(BucketError::Conflict(_)) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
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

    use std::sync::Arc;

    use super::*;
    use crate::bucket::directory::DirectoryBucket;

    const LONG: Duration = Duration::from_secs(3600);

    fn gateways() -> (tempfile::TempDir, [Marks; 3], TaskId) {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Arc::new(DirectoryBucket::open(folder.path().into()).unwrap());
        let tasks = Tasks::new(bucket);
        let gateways = [(); 3].map(|()| Marks::new(tasks.clone()));
        (folder, gateways, "t".parse().unwrap())
    }

    #[tokio::test]
    async fn whoever_took_a_task_ends_it_unless_it_is_followed_elsewhere() {
        let (_folder, [taker, other, _], id) = gateways();
        assert_eq!(taker.judge(&id, true).await.unwrap(), Absence::Abandoned);
        other.leave(&id, LONG, true).await.unwrap();
        assert_eq!(
            taker.judge(&id, true).await.unwrap(),
            Absence::FollowedElsewhere
        );
        other.leave(&id, Duration::ZERO, false).await.unwrap();
        assert_eq!(taker.judge(&id, false).await.unwrap(), Absence::Abandoned);
    }

    #[tokio::test]
    async fn whoever_only_looked_on_ends_nothing_before_the_task_is_handed_over() {
        let (_folder, [taker, other, third], id) = gateways();
        other.leave(&id, LONG, true).await.unwrap();
        assert_eq!(other.judge(&id, false).await.unwrap(), Absence::NotOurs);
        taker.judge(&id, true).await.unwrap();
        third.leave(&id, LONG, true).await.unwrap();
        assert_eq!(
            other.judge(&id, false).await.unwrap(),
            Absence::FollowedElsewhere
        );
        other.leave(&id, LONG, true).await.unwrap();
        assert_eq!(
            third.judge(&id, false).await.unwrap(),
            Absence::FollowedElsewhere
        );
        other.leave(&id, Duration::ZERO, false).await.unwrap();
        assert_eq!(third.judge(&id, false).await.unwrap(), Absence::Abandoned);
    }

    #[tokio::test]
    async fn a_gateway_that_stops_hands_its_tasks_over_before_anybody_came_elsewhere() {
        let (_folder, [taker, other, _], id) = gateways();
        taker.hand_over(&id).await.unwrap();
        other.leave(&id, LONG, true).await.unwrap();
        assert_eq!(other.judge(&id, false).await.unwrap(), Absence::Abandoned);
    }

    #[tokio::test]
    async fn no_mark_comes_back_after_the_end_of_its_task() {
        let (_folder, [_, other, _], id) = gateways();
        assert!(!other.leave(&id, LONG, false).await.unwrap());
        let name = names::followed(&id);
        assert!(other.tasks.bucket().get(&name).await.unwrap().is_none());
    }
}
