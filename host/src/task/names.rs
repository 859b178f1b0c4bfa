//! The names of a task's objects, in one place.

use super::TaskId;

/// `sessions/{id}/metadata.json`
pub fn record(id: &TaskId) -> String {
    format!("sessions/{id}/metadata.json")
}

/// `sessions/{id}/`: events, decisions and the record.
pub fn session(id: &TaskId) -> String {
    format!("sessions/{id}/")
}

/// `sessions/{id}/{first sequence, 12 digits}.jsonl`: a reader knows the next chunk's name.
pub fn chunk(id: &TaskId, first: u64) -> String {
    format!("sessions/{id}/{first:012}.jsonl")
}

/// `sessions/{id}/decisions.jsonl`
pub fn decisions(id: &TaskId) -> String {
    format!("sessions/{id}/decisions.jsonl")
}

/// `tasks/{id}/`: what exists only until the task is over and settled. Whoever lists `tasks/` sees
/// all unfinished work.
pub fn transient(id: &TaskId) -> String {
    format!("tasks/{id}/")
}

/// `tasks/{id}/payload.enc`
pub fn payload(id: &TaskId) -> String {
    format!("tasks/{id}/payload.enc")
}

/// `tasks/{id}/lease.json`
pub fn lease(id: &TaskId) -> String {
    format!("tasks/{id}/lease.json")
}

/// `files/{id}/`
pub fn artifacts(id: &TaskId) -> String {
    format!("files/{id}/")
}

/// `outbox/{id}.json`
pub fn outbox(id: &TaskId) -> String {
    format!("outbox/{id}.json")
}
