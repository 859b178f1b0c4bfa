//! The API: one file per resource, each with its own `router()`; errors in one shape.
//!
//! Turns requests into calls of `admission`, `task`, `launch`, `plugin` and their answers into bytes.
//! Decides nothing itself.

use std::sync::Arc;

use axum::Router;

use crate::app::App;

/// Every route.
pub fn router(_app: Arc<App>) -> Router {
    unimplemented!()
}
