//! A job that was started, until it is gone: whoever started it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::attend::{Attendant, Standing, died_as};
use super::{ACTIONS_HANG_AFTER, HANGS_AFTER, time_of};
use crate::task::{Ending, Phase, Reason, Record, TaskError, TaskId, names};

/// How often the record of a cancelled task is read whose job carries out actions, without a hint.
const LOOK_AT_ACTIONS: Duration = Duration::from_secs(1);

impl Attendant {
    /// Waits for the job's end, forces it where it is overdue, and sees that the record has an end too.
    pub(super) async fn watch(
        &self,
        mut record: Record,
        overdue: &CancellationToken,
    ) -> Result<(), TaskError> {
        let id = record.task_id.clone();
        let mut hints = self.tasks.bucket().watch(&names::transient(&id));
        let mut hung = false;
        loop {
            let gone = async { hung = self.gone(&record, overdue).await };
            if !self.unless_stopped(gone).await {
                return Ok(());
            }
            let Some(newer) = self.tasks.get(&id).await? else {
                return Ok(());
            };
            let is_another = newer.attempt != record.attempt;
            record = newer;
            if record.status.is_terminal() {
                self.launcher.sweep(&id).await;
                self.tasks.settle(&record).await?;
                self.courier.nudge();
                return Ok(());
            }
            if is_another && Standing::of(&record) != Standing::Held {
                // Whoever starts it watches it.
                return Ok(());
            }
            if !is_another && !self.is_held(&id).await? {
                break;
            }
            // Another job than the one we know works on it, or one that we cannot see.
            if !self.unless_stopped(hints.changed(self.lease)).await {
                return Ok(());
            }
        }
        self.launcher.sweep(&id).await;
        let ending = match record.cancel {
            None if hung => Ending::failed(
                Reason::TimedOut,
                "Process timed out: timeoutMinutes is over, and the job did not end",
            ),
            _ => died_as(&record),
        };
        self.finish(&id, ending).await?;
        Ok(())
    }

    /// Returns when the job is gone, which it will be some time after its end was asked for or its
    /// time was over; true where it hung and had to be killed for that.
    async fn gone(&self, record: &Record, overdue: &CancellationToken) -> bool {
        let cancelled = async {
            overdue.cancelled().await;
            tokio::time::sleep(self.cancel_grace).await;
            self.done_acting(&record.task_id).await;
        };
        let hung = tokio::select! {
            () = self.launcher.gone(record) => return false,
            () = cancelled => false,
            () = self.hangs(record) => true,
        };
        if hung {
            tracing::error!(task = %record.task_id, "a job is long past its task's time and is killed");
        }
        self.launcher.kill(record).await;
        self.launcher.gone(record).await;
        hung
    }

    /// Returns once the job must hang: a job ends its task in time by itself, and a stopped or
    /// deadlocked one still looks alive. Measured from here, not by the record, so that neither a
    /// changed clock nor a suspended machine ends a job that works.
    async fn hangs(&self, record: &Record) {
        let total = time_of(record, self.longest);
        tokio::time::sleep(total.saturating_add(HANGS_AFTER)).await;
        let acts = match self.tasks.get(&record.task_id).await {
            Ok(Some(record)) => {
                matches!(
                    record.phase,
                    Phase::Actions | Phase::Reporting | Phase::Ended
                )
            }
            Ok(None) | Err(_) => true,
        };
        if acts {
            tokio::time::sleep(ACTIONS_HANG_AFTER).await;
        }
    }

    /// Returns once the job carries out no actions, and where it did, had the time to report: one that
    /// is cut in the middle of a push could not tell what it pushed. Each has a limit of its own.
    async fn done_acting(&self, id: &TaskId) {
        let acting = async {
            let mut acted = false;
            let mut hints = self.tasks.bucket().watch(&names::session(id));
            while let Ok(Some(record)) = self.tasks.get(id).await {
                match record.phase {
                    Phase::Actions => acted = true,
                    _ if acted => return tokio::time::sleep(self.cancel_grace).await,
                    _ => return,
                }
                hints.changed(LOOK_AT_ACTIONS).await;
            }
        };
        let _longer = tokio::time::timeout(ACTIONS_HANG_AFTER, acting).await;
    }
}
