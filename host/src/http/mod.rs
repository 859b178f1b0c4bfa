//! The API: one file per resource, each with its own `router()`; errors in one shape.
//!
//! Turns requests into calls of `admission`, `task`, `launch`, `plugin` and their answers into bytes.
//! Decides nothing itself. `docs/reference/http.md` tells callers what is here.

mod access;
mod approvals;
mod artifacts;
mod body;
mod cancel;
mod claude;
mod decisions;
mod deliveries;
mod events;
mod health;
mod id;
mod idempotency;
mod inputs;
mod openapi;
mod peer;
mod plugin_sets;
mod plugins;
mod presence;
mod problem;
mod range;
mod reconcile;
mod run;
mod run_async;
mod serve;
mod sse;
mod stall;
mod status;
mod stream;
mod submit;
mod task_query;
mod tasks;

use std::sync::Arc;

use axum::{Router, middleware};

use crate::app::App;

pub use claude::ClaudeCli;
pub use health::StorageProbe;
pub use idempotency::Turns;
pub use presence::Presence;
pub use problem::{CODES, Problem};
pub use serve::serve;
pub(crate) use submit::needs_follower;

/// Every route.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(run::router())
        .merge(run_async::router())
        .merge(cancel::router())
        .merge(status::router())
        .merge(tasks::router())
        .merge(events::router())
        .merge(approvals::router())
        .merge(decisions::router())
        .merge(inputs::router())
        .merge(artifacts::router())
        .merge(deliveries::router())
        .merge(plugins::router())
        .merge(plugin_sets::router())
        .merge(reconcile::router())
        .merge(openapi::router())
        .fallback(problem::not_found)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            access::ask_who_calls,
        ))
        // What stands below is open to everybody: whoever watches over a gateway has no key.
        .merge(health::router())
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(middleware::from_fn(problem::render))
        .with_state(app)
}

#[cfg(test)]
mod tests;
