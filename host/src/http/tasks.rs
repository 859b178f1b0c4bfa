//! `GET /tasks`, `GET /tasks/{id}`: records as callers may see them.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::id::Id;
use super::problem::{Problem, unknown_task};
use super::task_query;
use crate::access::Caller;
use crate::app::App;
use crate::task::{Record, TaskError, TaskId, report};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/tasks", get(list))
        .route("/tasks/{id}", get(one))
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut query = task_query::read(query.as_deref().unwrap_or_default(), &caller)?;
    if let Some(tenant) = caller.only_tenant() {
        query.filter.tenant = Some(tenant.to_owned());
    }
    let page = app.tasks.list(&query).await?;
    let tasks = page.tasks.iter().map(view).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(match page.next {
        Some(next) => json!({ "tasks": tasks, "next": next }),
        None => json!({ "tasks": tasks }),
    }))
}

async fn one(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Map<String, Value>>, Problem> {
    let record = record(&app, &caller, &id).await?;
    let mut fields = view(&record)?;
    if record.status.is_terminal() {
        for (name, value) in report(&record) {
            fields.entry(name).or_insert(value);
        }
    }
    Ok(Json(fields))
}

/// The record, or the answer that there is none.
pub(super) async fn record(app: &App, caller: &Caller, id: &TaskId) -> Result<Record, Problem> {
    let found = find(app, caller, id).await?;
    found.ok_or_else(|| unknown_task(id.as_str()))
}

/// The record, where the caller may know of it. Every way to a task of the API leads through here.
pub(super) async fn find(
    app: &App,
    caller: &Caller,
    id: &TaskId,
) -> Result<Option<Record>, Problem> {
    match app.tasks.get(id).await {
        Ok(record) => Ok(record.filter(|record| app.access.shows(caller, &record.tenant))),
        Err(TaskError::Damaged { .. }) if !app.access.sees_what_is_nobodys(caller) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The record without what the callback URL may hold of secrets.
fn view(record: &Record) -> Result<Map<String, Value>, Problem> {
    let shown = Record {
        callback_url: record.callback_url.as_deref().and_then(without_secrets),
        ..record.clone()
    };
    match serde_json::to_value(shown) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Problem::internal("a record is no object")),
        Err(error) => Err(Problem::internal(error)),
    }
}

/// None for what is no URL.
fn without_secrets(url: &str) -> Option<String> {
    let mut url = url::Url::parse(url).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that can hold neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    #[test]
    fn a_callback_url_is_shown_without_query_user_and_fragment() {
        assert_eq!(
            without_secrets("https://user:pw@example.com:8443/hook?token=t#f").unwrap(),
            "https://example.com:8443/hook"
        );
        assert_eq!(without_secrets("not a url"), None);
    }
}
