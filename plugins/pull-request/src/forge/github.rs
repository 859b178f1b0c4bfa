//! GitHub's REST API, version 2022-11-28.

use serde_json::{Map, Value, json};

use super::{Forge, Open, Wanted, encoded};
use crate::Request;

const HEADERS: [(&str, &str); 2] = [
    ("accept", "application/vnd.github+json"),
    ("x-github-api-version", "2022-11-28"),
];

pub(super) fn create(forge: &Forge<'_>, wanted: &Wanted<'_>) -> Result<Request, String> {
    let path = format!("{}/pulls", project(forge)?);
    let body = json!({
        "title": wanted.title, "head": wanted.branch, "base": wanted.base, "body": wanted.body,
        "draft": wanted.draft,
    });
    Ok(forge.request("POST", &path, &HEADERS, Some(&body)))
}

pub(super) fn find(forge: &Forge<'_>, wanted: &Wanted<'_>) -> Result<Request, String> {
    let owner = forge.repository.path.first().map_or("", String::as_str);
    let path = format!(
        "{}/pulls?state=open&head={}&base={}&per_page=1",
        project(forge)?,
        encoded(&format!("{owner}:{}", wanted.branch)),
        encoded(wanted.base)
    );
    Ok(forge.request("GET", &path, &HEADERS, None))
}

pub(super) fn update(
    forge: &Forge<'_>,
    wanted: &Wanted<'_>,
    open: &Open,
) -> Result<Request, String> {
    let path = format!("{}/pulls/{}", project(forge)?, open.number);
    let mut body = Map::new();
    if wanted.says_title {
        body.insert("title".to_owned(), wanted.title.as_str().into());
    }
    if wanted.says_body {
        body.insert("body".to_owned(), wanted.body.as_str().into());
    }
    Ok(forge.request("PATCH", &path, &HEADERS, Some(&Value::Object(body))))
}

fn project(forge: &Forge<'_>) -> Result<String, String> {
    match forge.repository.path.as_slice() {
        [owner, name] => Ok(format!("/repos/{owner}/{name}")),
        _ => Err("gitRepo names no repository of GitHub: expected owner and name".to_owned()),
    }
}
