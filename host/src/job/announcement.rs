//! The webhook that tells of a question: into the outbox, from where the gateway carries it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::task::{Approval, TaskError, TaskId, Tasks, names};
use crate::webhook::{Entry, hand_in};

/// Between two tries: grows from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Puts the message into the outbox, where the task has a callback URL; tries until the task ends.
pub(super) async fn announce(
    tasks: Tasks,
    id: TaskId,
    approval: Approval,
    stop: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    while let Err(error) = post(&tasks, &id, &approval).await {
        warn!(%error, "an approval cannot be announced yet");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
        }
    }
}

async fn post(tasks: &Tasks, id: &TaskId, approval: &Approval) -> Result<(), TaskError> {
    let Some(record) = tasks.get(id).await? else {
        return Ok(());
    };
    let Some(entry) = Entry::for_approval(&record, approval) else {
        return Ok(());
    };
    let name = names::approval_outbox(id, &approval.call);
    hand_in(tasks.bucket().as_ref(), &name, &entry).await?;
    Ok(())
}
