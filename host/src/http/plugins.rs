//! `GET /plugins`: which set is active, what each plugin did, what keeps one from loading. Below it the
//! operator's verbs: what was changed, load the manifest, go back, try a set, give a plugin another mode.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::access::Operator;
use super::body;
use super::problem::{
    INVALID_CHANGE, INVALID_QUERY, PLUGIN_NOT_FOUND, PLUGINS_CHANGED, PLUGINS_REFUSED, Problem,
    REVISION_NOT_FOUND,
};
use crate::app::App;
use crate::plugin::{Asked, ChangeError, Changed, Enforcement, Extent, ModeFor, NewMode};

/// Bytes of what an operator asks for, and how long it may take to come.
const ASKED_SIZE: u64 = 16 << 10;
const ASKED_TIME: Duration = Duration::from_secs(10);

/// Changes in one answer.
const PAGE: usize = 100;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/plugins", get(plugins))
        .route("/plugins/history", get(history))
        .route("/plugins/reload", post(reload))
        .route("/plugins/rollback", post(roll_back))
        .route("/plugins/trial", post(try_out))
        .route("/plugins/promote", post(promote))
        .route("/plugins/{name}", patch(change))
}

async fn plugins(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.plugins.status())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    before: Option<u64>,
    limit: Option<usize>,
}

async fn history(
    State(app): State<Arc<App>>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let error = "Expected ?before= with a change's number and ?limit= from 1 to 100";
    let invalid = || Problem::new(INVALID_QUERY, error);
    let Query(page) = page.map_err(|_| invalid())?;
    let limit = page.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE {
        return Err(invalid());
    }
    let changes = app.plugins.changes(page.before, limit).await?;
    Ok(Json(json!({ "changes": changes })))
}

async fn reload(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let seen = seen(&headers)?;
    answer(app.plugins.reload(&asked(operator, seen.as_deref())).await)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBack {
    revision: Option<String>,
}

async fn roll_back(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let seen = seen(&headers)?;
    let wanted: RollBack = read(body, "{} or {\"revision\": \"…\"}").await?;
    let asked = asked(operator, seen.as_deref());
    answer(
        app.plugins
            .roll_back(wanted.revision.as_deref(), &asked)
            .await,
    )
}

/// `for` tells for which tasks; without it the mode is for all of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherMode {
    mode: Enforcement,
    #[serde(rename = "for")]
    tasks: Option<Tasks>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tasks {
    caller: Option<String>,
    repository: Option<String>,
    label: Option<String>,
    model: Option<String>,
}

async fn change(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let seen = seen(&headers)?;
    let expected = "{\"mode\": \"enforce\" | \"monitor\" | \"off\", \"for\"?: {\"caller\"?, \
                    \"repository\"?, \"label\"?, \"model\"?}}";
    let OtherMode { mode, tasks } = read(body, expected).await?;
    let new = match tasks {
        None => NewMode::All(mode),
        Some(Tasks {
            caller,
            repository,
            label,
            model,
        }) => NewMode::Some(ModeFor {
            mode,
            caller,
            repository,
            label,
            model,
        }),
    };
    let asked = asked(operator, seen.as_deref());
    answer(app.plugins.set_mode(&name, &new, &asked).await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TryOut {
    revision: Option<String>,
    #[serde(default)]
    share: u8,
    #[serde(default)]
    shadow: bool,
}

async fn try_out(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let seen = seen(&headers)?;
    let expected = "{\"revision\"?: \"…\", \"share\"?: 1 to 99, \"shadow\"?: true}";
    let TryOut {
        revision,
        share,
        shadow,
    } = read(body, expected).await?;
    let extent = Extent { share, shadow };
    extent
        .check()
        .map_err(|error| Problem::new(INVALID_CHANGE, error))?;
    let asked = asked(operator, seen.as_deref());
    answer(
        app.plugins
            .try_out(revision.as_deref(), extent, &asked)
            .await,
    )
}

async fn promote(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let seen = seen(&headers)?;
    answer(app.plugins.promote(&asked(operator, seen.as_deref())).await)
}

fn asked(operator: Operator, seen: Option<&str>) -> Asked<'_> {
    Asked {
        by: operator.name(),
        seen,
    }
}

/// `If-Match` with the revision that the operator looked at.
fn seen(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let revision = value.to_str().map(|text| text.trim_matches('"').to_owned());
    let error = "If-Match is to hold a revision of GET /plugins";
    revision
        .map(Some)
        .map_err(|_| Problem::new(INVALID_CHANGE, error))
}

/// The body; nothing at all counts as `{}`.
async fn read<T: DeserializeOwned>(body: Body, expected: &str) -> Result<T, Problem> {
    let bytes = body::read(body, ASKED_SIZE, ASKED_TIME).await?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text).map_err(|error| {
        Problem::new(INVALID_CHANGE, format!("Expected {expected}")).because(error)
    })
}

fn answer(changed: Result<Changed, ChangeError>) -> Result<Json<Value>, Problem> {
    changed
        .map(|changed| Json(changed.to_json()))
        .map_err(Problem::from)
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let words = error.to_string();
        match error {
            ChangeError::Refused(_) => Self::new(PLUGINS_REFUSED, words),
            ChangeError::Conflict { active } => {
                Self::new(PLUGINS_CHANGED, words).with("revision", active)
            }
            ChangeError::NoSuchPlugin { .. } => Self::new(PLUGIN_NOT_FOUND, words),
            ChangeError::NoSuchRevision(_) => Self::new(REVISION_NOT_FOUND, words),
            ChangeError::Bucket(error) => error.into(),
        }
    }
}
