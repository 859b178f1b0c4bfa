//! Looking through the bucket for tasks that nobody attends.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::attend::Standing;
use super::dispatcher::Shared;
use super::duty::Duty;
use super::queue::Owner;
use crate::task::{Record, TaskId};

/// How often the bucket is looked through.
const LOOK: Duration = Duration::from_secs(10);

/// A queued task that is younger may still be on its way into the line of the gateway that took it.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(30);

impl Shared {
    /// Finds what nobody attends: tasks of a gateway that is no more, or that a fault of the storage
    /// made us let go.
    pub(super) async fn keep_looking(self: Arc<Self>, mut duty: Duty) {
        // A gateway that shares nothing has looked when it started.
        let mut pause = if self.is_shared { Duration::ZERO } else { LOOK };
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return duty.release().await,
                () = tokio::time::sleep(pause) => {}
            }
            pause = LOOK;
            if !duty.is_ours().await {
                continue;
            }
            match self.tasks.unfinished().await {
                Ok(unfinished) => {
                    for record in &unfinished.records {
                        self.look_at(record).await;
                    }
                    self.end_damaged(&unfinished.damaged).await;
                }
                Err(error) => tracing::warn!(%error, "the unfinished tasks cannot be read"),
            }
        }
    }

    /// True where the task was taken up.
    pub(super) async fn look_at(self: &Arc<Self>, record: &Record) -> bool {
        let (known, waiting) = {
            let queue = self.queue();
            (
                queue.knows(&record.task_id),
                queue.is_waiting(&record.task_id),
            )
        };
        if record.cancel.is_some() && known {
            // Asked through another gateway, or its asker was interrupted.
            if waiting {
                if let Err(error) = self.end_waiting(&record.task_id).await {
                    tracing::warn!(task = %record.task_id, %error, "a waiting task cannot be ended");
                }
            } else {
                self.queue().ask_to_end(&record.task_id);
            }
        }
        let age = Timestamp::now().duration_since(record.created_at);
        let left = !known && (Standing::of(record) != Standing::Queued || age > ON_ITS_WAY);
        if left {
            self.take_up(record);
        }
        left
    }

    /// Ends those of the tasks that nobody here attends any more.
    pub(super) async fn end_damaged(&self, tasks: &[TaskId]) {
        for id in tasks {
            let known = self.queue().knows(id);
            if known {
                continue;
            }
            if let Err(error) = self.attendant.end_damaged(id).await {
                tracing::warn!(task = %id, %error, "a task with a damaged record cannot be ended");
            }
        }
    }

    /// Attends a task that was found in the bucket.
    pub(super) fn take_up(self: &Arc<Self>, record: &Record) {
        let id = record.task_id.clone();
        if Standing::of(record) == Standing::Queued {
            match self.is_shared {
                true => self.queue().push_guest(id, Owner::of(record)),
                false => self.queue().push(id, Owner::of(record)),
            }
            self.moved.notify_one();
            return;
        }
        let owner = Owner::of(record);
        let Some(overdue) = self.queue().adopt(&id, owner, self.is_shared) else {
            return;
        };
        if record.cancel.is_some() {
            overdue.cancel();
        }
        self.attend(id, overdue);
    }
}
