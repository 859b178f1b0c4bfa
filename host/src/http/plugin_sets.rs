//! For operators: what a revision consists of, to the byte, and what two revisions made of the same
//! questions.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::ReaderStream;

use super::access::Operator;
use super::problem::{COMPONENT_NOT_FOUND, INVALID_QUERY, Problem};
use crate::app::App;
use crate::bucket::Bucket;
use crate::plugin::{Answers, Decision, answers};
use crate::task::{ListQuery, TaskError, TaskId, names};

/// Tasks that are looked through, where nothing is said and at most.
const TASKS: usize = 100;
const MOST_TASKS: usize = 1000;
/// Records of one page, and logs that are read at once.
const PAGE: usize = 100;
const AT_ONCE: usize = 4;
/// Bytes of a line, and lines of one task that are read.
const LINE: usize = 1 << 20;
const LINES: usize = 10_000;
/// Differences that are shown; the others are counted.
const SHOWN: usize = 100;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/plugins/diff", get(diff))
        .route("/plugins/sets/{revision}", get(set))
        .route("/plugins/components/{digest}", get(component))
}

/// `{"plugins": […], "groups"?: […]}`, as it is kept: whose SHA-256 begins with the revision.
async fn set(
    State(app): State<Arc<App>>,
    _operator: Operator,
    Path(revision): Path<String>,
) -> Result<Response, Problem> {
    let text = app.plugins.set_text(&revision).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

async fn component(
    State(app): State<Arc<App>>,
    _operator: Operator,
    Path(digest): Path<String>,
) -> Result<Response, Problem> {
    let hex = |digest: &str| digest.len() == 64 && digest.bytes().all(|it| it.is_ascii_hexdigit());
    let name = format!("plugins/components/{digest}.wasm");
    let found = match hex(&digest) {
        true => app.tasks.bucket().download(&name, 0).await?,
        false => None,
    };
    let Some((size, reader)) = found else {
        let error = "No component with this SHA-256 was ever part of a set here";
        return Err(Problem::new(COMPONENT_NOT_FOUND, error));
    };
    let headers = [
        (header::CONTENT_TYPE, "application/wasm".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
    ];
    let body = Body::from_stream(ReaderStream::new(reader));
    Ok((headers, body).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    from: String,
    to: String,
    tasks: Option<usize>,
}

async fn diff(
    State(app): State<Arc<App>>,
    _operator: Operator,
    between: Result<Query<Between>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let error = "Expected ?from= and ?to= with a revision each, and ?tasks= from 1 to 1000";
    let invalid = || Problem::new(INVALID_QUERY, error);
    let Query(Between { from, to, tasks }) = between.map_err(|_| invalid())?;
    let most = tasks.unwrap_or(TASKS);
    if most == 0 || most > MOST_TASKS {
        return Err(invalid());
    }
    let (plugins, groups) = app.plugins.set_difference(&from, &to).await?;
    let mut seen = Seen::default();
    for ids in newest(&app, most).await? {
        let bucket = app.tasks.bucket();
        let mut logs = stream::iter(ids)
            .map(|id| async move { (read(bucket.as_ref(), &id).await, id) })
            .buffered(AT_ONCE);
        while let Some((decisions, id)) = logs.next().await {
            let decisions = decisions?;
            seen.task(&id, &answers(&decisions), &from, &to);
        }
    }
    Ok(Json(json!({
        "from": from,
        "to": to,
        "plugins": plugins,
        "groups": groups,
        "decisions": seen.to_json(&from, &to),
    })))
}

/// The ids of the newest tasks, a page at a time.
async fn newest(app: &App, most: usize) -> Result<Vec<Vec<TaskId>>, TaskError> {
    let (mut pages, mut left, mut cursor) = (Vec::new(), most, None);
    loop {
        let query = ListQuery {
            limit: left.min(PAGE),
            cursor,
            ..ListQuery::default()
        };
        let page = app.tasks.list(&query).await?;
        left -= page.tasks.len().min(left);
        let ids = page.tasks.into_iter().map(|record| record.task_id);
        pages.push(ids.collect());
        match page.next {
            Some(next) if left > 0 => cursor = Some(next),
            _ => return Ok(pages),
        }
    }
}

async fn read(bucket: &dyn Bucket, id: &TaskId) -> Result<Vec<Decision>, Problem> {
    let Some((_, reader)) = bucket.download(&names::decisions(id), 0).await? else {
        return Ok(Vec::new());
    };
    let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(LINE));
    // A line may tell how many were dropped.
    let decision = |line: Result<String, _>| {
        let read = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        std::future::ready(read)
    };
    Ok(lines.take(LINES).filter_map(decision).collect().await)
}

/// What was found in the logs of decisions.
#[derive(Debug, Default)]
struct Seen {
    /// Tasks and questions that each revision ruled, and how many it refused.
    rates: BTreeMap<String, [u64; 3]>,
    compared: u64,
    different: u64,
    shown: Vec<Value>,
}

impl Seen {
    fn task(&mut self, id: &TaskId, told: &BTreeMap<String, Answers>, from: &str, to: &str) {
        for (revision, answers) in told {
            let [tasks, asked, refused] = self.rates.entry(revision.clone()).or_default();
            *tasks += 1;
            for said in answers.values() {
                *asked += 1;
                *refused += u64::from(matches!(&*said.verdict, "deny" | "reject"));
            }
        }
        let (Some(ours), Some(theirs)) = (told.get(from), told.get(to)) else {
            return;
        };
        for (question, said) in ours {
            let Some(other) = theirs.get(question) else {
                continue;
            };
            self.compared += 1;
            if said.is_as(other) {
                continue;
            }
            self.different += 1;
            if self.shown.len() < SHOWN {
                self.shown.push(json!({
                    "taskId": id, "stage": question.stage, "call": question.call,
                    "tool": said.tool, "from": said, "to": other,
                }));
            }
        }
    }

    fn to_json(&self, from: &str, to: &str) -> Value {
        let rate = |revision: &str| {
            let [tasks, asked, refused] = self.rates.get(revision).copied().unwrap_or_default();
            json!({"revision": revision, "tasks": tasks, "asked": asked, "refused": refused})
        };
        json!({
            "compared": self.compared,
            "different": self.different,
            "shown": self.shown,
            "rates": [rate(from), rate(to)],
        })
    }
}
