//! Tasks whose records cannot be read any more: they end, and what is left of them says so.

use jiff::Timestamp;
use serde_json::Map;

use super::attend::Attendant;
use crate::access::NOBODY;
use crate::admission::Payload;
use crate::envelope::Purpose;
use crate::task::{Ending, Mode, Reason, TaskError, TaskId, names};

impl Attendant {
    /// Ends the task with a record made anew from its sealed request, unless a job works on it, which
    /// ends as soon as it cannot read the record either.
    pub(super) async fn end_damaged(&self, id: &TaskId) -> Result<(), TaskError> {
        if self.is_held(id).await? {
            return Ok(());
        }
        self.launcher.sweep(id).await;
        let payload = self.payload_of(id).await?.unwrap_or_else(nothing_known);
        let logs_path = self.tasks.bucket().uri(&names::session(id));
        let record = payload.first_record(id.clone(), logs_path);
        let ending = Ending::failed(
            Reason::Internal,
            "The task's record was damaged in the storage; what the task did is not known.",
        );
        self.tasks.end_damaged(&record, &ending).await?;
        tracing::error!(task = %id, "a task with a damaged record was ended");
        self.courier.nudge();
        Ok(())
    }

    /// None where the request is damaged as well.
    async fn payload_of(&self, id: &TaskId) -> Result<Option<Payload>, TaskError> {
        let Some(sealed) = self.tasks.payload(id).await? else {
            return Ok(None);
        };
        let opened = self.envelope.open(Purpose::TaskPayload, id, &sealed).await;
        let plain = match opened {
            Ok(plain) => plain,
            Err(error) => {
                tracing::warn!(task = %id, %error, "its request cannot be opened: nobody is told of its end");
                return Ok(None);
            }
        };
        Ok(serde_json::from_slice(&plain).ok())
    }
}

fn nothing_known() -> Payload {
    Payload {
        shadow_set: None,
        request: Map::new(),
        plugin_set: String::new(),
        caller: "unknown".to_owned(),
        // The default tenant is somebody.
        tenant: NOBODY.to_owned(),
        mode: Mode::Async,
        created_at: Timestamp::now(),
        approved_tools: Vec::new(),
        system_prompt_version: None,
        append_system_prompt_version: None,
    }
}
