//! A task as it is kept: its record, its event log, its lease.
//!
//! Knows the layout of the bucket below `tasks/`, `sessions/`, `index/`, `idempotency/`; does not know HTTP, plugins
//! or processes. Relies on `bucket` for compare-and-set and on `webhook::Entry` for what is to be
//! delivered once a task is over.

mod approval;
mod chunks;
mod events;
mod follow;
mod followed;
mod id;
mod idempotency;
mod lease;
mod line;
mod listing;
pub mod names;
mod record;
mod report;
mod settle;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use approval::{
    Answered, Approval, ApprovalState, CallId, Decided, InvalidCallId, MOST_APPROVALS,
};
pub use events::{EventLog, LogLimits};
pub use follow::{Event, Follower, Step};
pub use followed::{Absence, Marks};
pub use id::{InvalidTaskId, TaskId};
pub use idempotency::{Claim, keep_removing_old_claims};
pub use lease::{Holder, Lease};
pub use record::{
    ActionResult, ActionStatus, AgentSummary, CancelRequest, ClonedRepository, Ending, Mode, Phase,
    Reason, Record, Status, UploadedFile,
};
pub(crate) use report::javascript;
pub use report::report;
pub use settle::Unfinished;
pub use store::{Filter, Finished, ListQuery, Page, TaskError, Tasks, Updated};
