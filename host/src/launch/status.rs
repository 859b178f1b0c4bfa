//! What a gateway has to do.

use futures::StreamExt;

use super::Dispatcher;
use super::attend::Standing;
use crate::task::{Record, TaskError};

/// Records read at once.
const READS: usize = 16;

/// For `/tasks/status`.
#[derive(Clone, Debug, Default)]
pub struct QueueStatus {
    /// Tasks this gateway knows to be unfinished: waiting, starting or running; oldest first.
    pub tasks: Vec<Record>,
    /// Of them, waiting.
    pub waiting: usize,
    /// Of them, with a job.
    pub running: usize,
    /// `queue.max_concurrent`
    pub max: usize,
}

impl Dispatcher {
    /// How many tasks of this gateway wait and take places, without their records.
    pub fn load(&self) -> QueueStatus {
        let queue = self.shared.queue();
        QueueStatus {
            tasks: Vec::new(),
            waiting: queue.waiting(),
            running: queue.places_taken(),
            max: queue.max_running(),
        }
    }

    /// What is unfinished, of all or of one tenant.
    pub async fn status(&self, tenant: Option<&str>) -> Result<QueueStatus, TaskError> {
        let (ids, max) = {
            let queue = self.shared.queue();
            (queue.tasks(tenant), queue.max_running())
        };
        let mut reads = futures::stream::iter(ids)
            .map(|id| {
                let tasks = self.shared.tasks.clone();
                async move { tasks.get(&id).await }
            })
            .buffer_unordered(READS);
        let mut tasks = Vec::new();
        while let Some(record) = reads.next().await {
            match record {
                Ok(record) => tasks.extend(record.filter(|record| !record.status.is_terminal())),
                // Its end is under way.
                Err(TaskError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        tasks.sort_by(|one: &Record, other| {
            (one.created_at, &one.task_id).cmp(&(other.created_at, &other.task_id))
        });
        // By their records: one that waits here may run elsewhere by now.
        let waits = |record: &&Record| Standing::of(record) == Standing::Queued;
        let waiting = tasks.iter().filter(waits).count();
        Ok(QueueStatus {
            running: tasks.len() - waiting,
            waiting,
            tasks,
            max,
        })
    }
}
