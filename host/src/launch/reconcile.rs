//! One look at all unfinished tasks, at once and by this gateway, whoever has the duty: for a platform
//! that gives a gateway no processor between requests, and calls it now and then.

use futures::StreamExt;
use serde::Serialize;

use super::Dispatcher;
use crate::task::TaskError;

/// Tasks looked at at once.
const LOOKS: usize = 16;

/// What a look met and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Unfinished tasks.
    pub looked: usize,
    /// Of them, ended because their jobs are gone, or settled because they were over.
    pub ended: usize,
    /// Of them, taken up by this gateway.
    pub adopted: usize,
    /// Of them, those that could not be looked at; the next look does.
    pub failed: usize,
}

impl Dispatcher {
    /// Ends what is plainly over before it returns, and takes up what nobody attends. Safe to repeat and
    /// to do at several gateways at once.
    pub async fn reconcile(&self) -> Result<Reconciled, TaskError> {
        let unfinished = self.shared.tasks.unfinished().await?;
        let mut reconciled = Reconciled {
            looked: unfinished.records.len() + unfinished.damaged.len(),
            ..Reconciled::default()
        };
        let mut looks = futures::stream::iter(unfinished.records)
            .map(|record| async move {
                let ended = self.shared.attendant.end_where_gone(&record).await;
                (record, ended)
            })
            .buffer_unordered(LOOKS);
        while let Some((record, ended)) = looks.next().await {
            match ended {
                Ok(true) => reconciled.ended += 1,
                Ok(false) => {
                    reconciled.adopted += usize::from(self.shared.look_at(&record).await);
                }
                Err(error) => {
                    tracing::warn!(task = %record.task_id, %error, "a task cannot be looked at");
                    reconciled.failed += 1;
                }
            }
        }
        self.shared.end_damaged(&unfinished.damaged).await;
        Ok(reconciled)
    }
}
