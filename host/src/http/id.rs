//! The task that a path names.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::problem::{INVALID_TASK_ID, Problem};
use crate::task::TaskId;

/// `{id}` of the path.
pub(super) struct Id(pub(super) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = param(parts, state, "id").await;
        id.and_then(|id| id.parse().ok()).map(Self).ok_or_else(|| {
            let error =
                "Invalid taskId format. Must be alphanumeric with underscores and hyphens only.";
            Problem::new(INVALID_TASK_ID, error)
        })
    }
}

/// A part of the path by its name, decoded; none where it is no UTF-8.
pub(super) async fn param<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    params
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}
