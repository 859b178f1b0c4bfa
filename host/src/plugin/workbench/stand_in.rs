//! What answers in place of hosts and repositories: what the case says, in order, and nothing else.
//! Everything that was asked is kept, as it would have left the gateway.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::plugin::{
    Change, Cloned, Commit, Committed, Failure, GitRepository, HttpClient, HttpRequest,
    HttpResponse, OnConflict, Push, Pushed, Recovery,
};

/// Words of every failure that a case asks for.
const WORDS: &str = "The host's words.";
/// Codes that a case can ask for: those of the contract.
const CODES: [&str; 17] = [
    "no-repository",
    "not-granted",
    "no-secret",
    "invalid-request",
    "too-large",
    "too-many-requests",
    "address-refused",
    "unreachable",
    "broken",
    "timed-out",
    "answer-too-large",
    "unreadable",
    "git-failed",
    "conflict",
    "no-access",
    "secret-found",
    "io",
];

fn failure(code: &str) -> Failure {
    match CODES.iter().find(|known| **known == code) {
        Some(code) => Failure::new(code, WORDS),
        None => Failure::new("other", format!("{WORDS} ({code})")),
    }
}

/// Answers requests with what `answers.json` says, one after another.
#[derive(Debug)]
pub(super) struct Exchange {
    answers: Mutex<VecDeque<Value>>,
    asked: Mutex<Vec<Value>>,
}

impl Exchange {
    pub(super) fn new(answers: Vec<Value>) -> Self {
        Self {
            answers: Mutex::new(answers.into()),
            asked: Mutex::default(),
        }
    }

    pub(super) fn asked(&self) -> Vec<Value> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

#[async_trait]
impl HttpClient for Exchange {
    async fn send(&self, request: HttpRequest, _most: u64) -> Result<HttpResponse, Failure> {
        let headers: Vec<[&str; 2]> = request
            .headers
            .iter()
            .map(|(name, value)| [name.as_str(), value.expose_secret()])
            .collect();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let asked = json!({
            "method": request.method, "url": request.url, "headers": headers,
            "body": serde_json::from_str(&body).unwrap_or(Value::String(body)),
        });
        let asked_before = &mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked_before.push(asked);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answer) = answers.pop_front() else {
            let words = "answers.json has no answer to this request";
            return Err(Failure::new("unreachable", words));
        };
        if let Some(code) = answer.get("failure").and_then(Value::as_str) {
            return Err(failure(code));
        }
        let status = answer.get("status").and_then(Value::as_u64);
        let headers = answer.get("headers").and_then(Value::as_object);
        let headers = headers.into_iter().flatten();
        Ok(HttpResponse {
            status: status
                .and_then(|status| u16::try_from(status).ok())
                .unwrap_or(599),
            headers: headers
                .filter_map(|(name, value)| {
                    Some((name.to_ascii_lowercase(), value.as_str()?.to_owned()))
                })
                .collect(),
            body: match answer.get("body") {
                None => Vec::new(),
                Some(Value::String(text)) => text.clone().into_bytes(),
                Some(body) => body.to_string().into_bytes(),
            },
        })
    }
}

/// A repository that answers with what `host.json` says.
#[derive(Debug)]
pub(super) struct StandInRepository {
    says: Value,
    asked: Mutex<Map<String, Value>>,
}

impl StandInRepository {
    pub(super) fn new(says: Value) -> Self {
        Self {
            says,
            asked: Mutex::default(),
        }
    }

    /// Whether the case's task has one.
    pub(super) fn is_there(&self) -> bool {
        self.fails("about").is_ok()
    }

    pub(super) fn asked(&self) -> Value {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        Value::Object(asked.clone())
    }

    fn note(&self, name: &str, asked: Value) {
        let mut noted = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        noted.insert(name.to_owned(), asked);
    }

    fn text(&self, name: &str, default: &str) -> String {
        let value = self.says.get(name).and_then(Value::as_str);
        value.unwrap_or(default).to_owned()
    }

    fn fails(&self, name: &str) -> Result<(), Failure> {
        let code = self.says.get(name).and_then(|answer| answer.get("code"));
        match code.and_then(Value::as_str) {
            Some(code) => Err(failure(code)),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl GitRepository for StandInRepository {
    fn cloned(&self) -> Cloned {
        Cloned {
            url: self.text("url", "https://git.example.com/acme/app"),
            branch: Some(self.text("cloned", "main")).filter(|branch| !branch.is_empty()),
            commit: "c0ffee".to_owned(),
        }
    }

    async fn changes(&self) -> Result<Vec<Change>, Failure> {
        self.fails("changes")?;
        let changes = self.says.get("changed").and_then(Value::as_array);
        let change = |pair: &Value| {
            Some(Change {
                path: pair.get(0)?.as_str()?.to_owned(),
                status: pair.get(1)?.as_str()?.to_owned(),
            })
        };
        Ok(changes.into_iter().flatten().filter_map(change).collect())
    }

    async fn commit(&self, commit: Commit) -> Result<Option<Committed>, Failure> {
        let asked = json!({
            "message": commit.message, "paths": commit.paths, "author": commit.author,
        });
        self.note("commit", asked);
        self.fails("commit")?;
        let clean = self.says.get("clean").is_some();
        Ok((!clean).then(|| Committed {
            sha: "c0ffee".to_owned(),
            message: commit.message,
            files: 2,
        }))
    }

    async fn push(&self, push: Push) -> Result<Pushed, Failure> {
        let on_conflict = match push.on_conflict {
            OnConflict::Fail => "fail",
            OnConflict::Rebase => "rebase",
            OnConflict::NewBranch => "new-branch",
        };
        self.note("push", json!([push.branch, on_conflict]));
        self.fails("push")?;
        let recovery = match self.says.get("recovery").and_then(Value::as_str) {
            Some("rebase") => Some("rebase"),
            Some(_) => Some("new-branch"),
            None => None,
        };
        Ok(Pushed {
            pushed: self.says.get("nothingNew").is_none(),
            branch: self.text("landed", &push.branch),
            sha: self.text("stands", "c0ffee"),
            commits: 1,
            recovery: recovery.map(|method| Recovery {
                method,
                remote_sha: "beef".to_owned(),
                conflict_files: vec!["a".to_owned()],
            }),
        })
    }

    async fn message(&self, _sha: &str) -> Option<String> {
        None
    }
}
