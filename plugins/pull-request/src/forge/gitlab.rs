//! GitLab's REST API, version 4.

use serde_json::{Map, Value, json};

use super::{Forge, Open, Wanted, encoded};
use crate::Request;

/// What makes a merge request a draft.
const DRAFT: &str = "Draft: ";

pub(super) fn create(forge: &Forge<'_>, wanted: &Wanted<'_>) -> Request {
    let body = json!({
        "source_branch": wanted.branch, "target_branch": wanted.base, "title": title(wanted),
        "description": wanted.body,
    });
    forge.request("POST", &place(forge), &[], Some(&body))
}

pub(super) fn find(forge: &Forge<'_>, wanted: &Wanted<'_>) -> Request {
    let path = format!(
        "{}?state=opened&source_branch={}&target_branch={}&per_page=1",
        place(forge),
        encoded(wanted.branch),
        encoded(wanted.base)
    );
    forge.request("GET", &path, &[], None)
}

pub(super) fn update(forge: &Forge<'_>, wanted: &Wanted<'_>, open: &Open) -> Request {
    let mut body = Map::new();
    if wanted.says_title {
        body.insert("title".to_owned(), title(wanted).into());
    }
    if wanted.says_body {
        body.insert("description".to_owned(), wanted.body.as_str().into());
    }
    let path = format!("{}/{}", place(forge), open.number);
    forge.request("PUT", &path, &[], Some(&Value::Object(body)))
}

fn title(wanted: &Wanted<'_>) -> String {
    let is_draft = wanted.title.to_ascii_lowercase().starts_with("draft:");
    if wanted.draft && !is_draft {
        format!("{DRAFT}{}", wanted.title)
    } else {
        wanted.title.clone()
    }
}

/// A project is named by its path as one part of the URL.
fn place(forge: &Forge<'_>) -> String {
    let path = encoded(&forge.repository.path.join("/"));
    format!("/projects/{path}/merge_requests")
}
