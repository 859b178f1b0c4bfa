//! The requests of each protocol, and what their answers mean.

mod github;
mod gitlab;

use serde_json::Value;

use crate::settings::{Kind, Server};
use crate::{Repository, Request, Response};

/// Characters of a server's words that are repeated.
const MOST_WORDS: usize = 300;

/// What is to be opened.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) branch: &'a str,
    pub(crate) base: &'a str,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) draft: bool,
    /// What the caller said, and not we: only that changes one that is open already.
    pub(crate) says_title: bool,
    pub(crate) says_body: bool,
}

/// One that is open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) url: String,
    pub(crate) number: u64,
}

/// A server as this crate speaks to it.
#[derive(Debug)]
pub(crate) struct Forge<'a> {
    server: &'a Server,
    repository: &'a Repository,
    secret: &'a str,
}

impl<'a> Forge<'a> {
    pub(crate) fn new(server: &'a Server, repository: &'a Repository, secret: &'a str) -> Self {
        Self {
            server,
            repository,
            secret,
        }
    }

    /// Opens a new one.
    pub(crate) fn create(&self, wanted: &Wanted<'_>) -> Result<Request, String> {
        match self.server.kind {
            Kind::Github => github::create(self, wanted),
            Kind::Gitlab => Ok(gitlab::create(self, wanted)),
        }
    }

    /// Whether the answer may mean that one is open already.
    pub(crate) fn may_be_open(&self, answer: &Response) -> bool {
        let refused = match self.server.kind {
            Kind::Github => 422,
            Kind::Gitlab => 409,
        };
        answer.status == refused
    }

    /// Looks for an open one for the same branches.
    pub(crate) fn find(&self, wanted: &Wanted<'_>) -> Result<Request, String> {
        match self.server.kind {
            Kind::Github => github::find(self, wanted),
            Kind::Gitlab => Ok(gitlab::find(self, wanted)),
        }
    }

    /// Changes an open one to what the caller said; none where that is nothing.
    pub(crate) fn update(
        &self,
        wanted: &Wanted<'_>,
        open: &Open,
    ) -> Result<Option<Request>, String> {
        if !wanted.says_title && !wanted.says_body {
            return Ok(None);
        }
        match self.server.kind {
            Kind::Github => github::update(self, wanted, open).map(Some),
            Kind::Gitlab => Ok(Some(gitlab::update(self, wanted, open))),
        }
    }

    /// The one that an answer describes, or the first of a list.
    pub(crate) fn read(&self, answer: &Response) -> Option<Open> {
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        let one = match &body {
            Value::Array(list) => list.first()?,
            one => one,
        };
        let (url, number) = match self.server.kind {
            Kind::Github => ("html_url", "number"),
            Kind::Gitlab => ("web_url", "iid"),
        };
        let url = one.get(url)?.as_str()?;
        Some(Open {
            url: url.chars().take(2048).collect(),
            number: one.get(number)?.as_u64()?,
        })
    }

    /// Why an answer is not the one that was hoped for.
    pub(crate) fn explain(&self, answer: &Response) -> String {
        let host = &self.repository.host;
        let words = words(&answer.body);
        let secret = self.secret;
        match answer.status {
            401 => format!("{host} does not take the token in `{secret}`{words}"),
            403 => format!("the token in `{secret}` may not open pull requests at {host}{words}"),
            404 => format!(
                "{host} knows no such repository, or does not show it to the token in `{secret}`{words}"
            ),
            status => format!("{host} answered with status {status}{words}"),
        }
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Request {
        let bearer = format!("Bearer [secret:{}]", self.secret);
        let common = [
            ("authorization", bearer.as_str()),
            // GitHub wants one.
            ("user-agent", "gatehouse-pull-request"),
        ];
        let json = [("content-type", "application/json")];
        let json = if body.is_some() { &json[..] } else { &[] };
        let headers = common.iter().chain(more).chain(json);
        Request {
            method: method.to_owned(),
            url: format!("{}{path}", self.server.api),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body
                .map(|body| body.to_string().into_bytes())
                .unwrap_or_default(),
        }
    }
}

/// What a server says of itself, with `: ` before it; nothing where it says nothing.
fn words(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut said = Vec::new();
    for member in ["message", "error"] {
        gather(body.get(member), &mut said);
    }
    let details = body.get("errors").and_then(Value::as_array);
    for detail in details.into_iter().flatten() {
        gather(detail.get("message"), &mut said);
    }
    if said.is_empty() {
        return String::new();
    }
    let said = said.join("; ");
    let plain = said.chars().map(|c| if c.is_control() { ' ' } else { c });
    format!(": {}", plain.take(MOST_WORDS).collect::<String>())
}

/// GitLab puts a text, a list of texts, or texts by field there.
fn gather(value: Option<&Value>, said: &mut Vec<String>) {
    match value {
        Some(Value::String(text)) => said.push(text.clone()),
        Some(Value::Array(list)) => list.iter().for_each(|item| gather(Some(item), said)),
        Some(Value::Object(members)) => {
            for (name, value) in members {
                let mut inner = Vec::new();
                gather(Some(value), &mut inner);
                said.push(format!("{name} {}", inner.join(", ")));
            }
        }
        _ => {}
    }
}

/// For a path or a query: everything but what never needs it.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
