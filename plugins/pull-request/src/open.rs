//! Opening: what is asked of the server, in which order.

use options::Template;
use serde_json::{Value, json};

use crate::forge::{Forge, Open, Wanted};
use crate::{Options, Repository, Settings};

/// Characters of a title that is made of a commit message; GitHub takes 256, GitLab 255.
const MAX_TITLE: usize = 240;

/// A request to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In upper case.
    pub method: String,
    /// Whole.
    pub url: String,
    /// Names in lower case; the token stands there by its name.
    pub headers: Vec<(String, String)>,
    /// JSON, or nothing.
    pub body: Vec<u8>,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Any.
    pub status: u16,
    /// Whole.
    pub body: Vec<u8>,
}

/// Why the host refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable.
    pub code: String,
    /// For people.
    pub message: String,
}

/// What the host does for this plugin.
pub trait Http {
    /// Sends a request.
    ///
    /// # Errors
    /// The host refused, or nothing came back.
    fn send(&self, request: &Request) -> Result<Response, Failure>;
}

/// Of the task what is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// As the host tells it.
    pub created_at: String,
    /// `gitRepo` of the request.
    pub repository: Option<String>,
}

/// What the action before this one pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    branch: Option<String>,
    base: Option<String>,
    message: Option<String>,
}

impl Pushed {
    /// Reads that action's result; none where nothing was pushed.
    #[must_use]
    pub fn read(result: &str) -> Option<Self> {
        let result: Value = serde_json::from_str(result).ok()?;
        let text = |name: &str| Some(result.get(name)?.as_str()?.to_owned());
        let pushed = result.get("pushed").and_then(Value::as_bool);
        (pushed == Some(true)).then(|| Self {
            branch: text("branch"),
            base: text("base"),
            message: text("message"),
        })
    }
}

/// Opens a pull request; the value is `{url, number, created}`, or a `note` where there was nothing to
/// open one for. `result` is that of the action which pushes.
///
/// # Errors
/// What kept it from being opened.
pub fn run(
    http: &impl Http,
    settings: &Settings,
    options: &Options,
    task: &Task,
    result: Option<&str>,
) -> Result<Value, String> {
    let action = &settings.action;
    let result = result.ok_or_else(|| {
        format!("the action `{action}` did not push before, or failed: there is no branch")
    })?;
    let Some(pushed) = Pushed::read(result) else {
        return Ok(json!({ "created": false, "note": format!("`{action}` had nothing to push") }));
    };
    let branch = pushed
        .branch
        .as_deref()
        .ok_or_else(|| format!("the result of `{action}` names no branch"))?;
    let named = options.base.as_ref();
    let base = named
        .map(|template| template.fill(&task.id, &task.created_at))
        .or_else(|| pushed.base.clone())
        .ok_or("base: gitBranch named a tag or a commit, so say which branch to merge into")?;
    if base == branch {
        return Err(format!(
            "`{branch}` itself was pushed, so there is nothing to merge: give `{action}` a branch of its \
             own, such as work/{{taskId}}"
        ));
    }
    let repository = task
        .repository
        .as_deref()
        .ok_or("the request has no gitRepo")?;
    let repository = Repository::parse(repository)
        .ok_or("gitRepo names no project that could have pull requests")?;
    let server = settings.server(&repository).ok_or_else(|| {
        format!(
            "this service does not know which API {} has; its operator can say so in the plugin's \
             settings, under hosts",
            repository.host
        )
    })?;
    let wanted = wanted(settings, options, task, &pushed, branch, &base);
    let forge = Forge::new(&server, &repository, &settings.secret);
    open(http, &forge, &wanted)
}

fn wanted<'a>(
    settings: &Settings,
    options: &Options,
    task: &Task,
    pushed: &Pushed,
    branch: &'a str,
    base: &'a str,
) -> Wanted<'a> {
    let fill = |template: &Template| template.fill(&task.id, &task.created_at);
    let of_the_commit = pushed.message.as_deref().and_then(|message| {
        let subject = message.lines().next().unwrap_or_default().trim();
        (!subject.is_empty()).then(|| subject.chars().take(MAX_TITLE).collect::<String>())
    });
    let title = options.title.as_ref().map(fill);
    let body = options.body.as_ref().map(fill);
    Wanted {
        branch,
        base,
        says_title: title.is_some(),
        says_body: body.is_some(),
        title: title
            .or(of_the_commit)
            .unwrap_or_else(|| format!("Task {}", task.id)),
        body: body.unwrap_or_else(|| fill(&Template::new(&settings.body))),
        draft: options.draft,
    }
}

/// First a new one: asking whether there is one before would race with others who open one.
fn open(http: &impl Http, forge: &Forge<'_>, wanted: &Wanted<'_>) -> Result<Value, String> {
    let answer = send(http, &forge.create(wanted)?)?;
    if answer.status == 201 {
        return told(&read(forge, &answer)?, true);
    }
    if !forge.may_be_open(&answer) {
        return Err(forge.explain(&answer));
    }
    let found = send(http, &forge.find(wanted)?)?;
    let open = match found.status {
        200 => forge.read(&found),
        _ => return Err(forge.explain(&found)),
    };
    // It was refused for another reason.
    let open = open.ok_or_else(|| forge.explain(&answer))?;
    if let Some(update) = forge.update(wanted, &open)? {
        let updated = send(http, &update)?;
        if updated.status != 200 {
            return Err(forge.explain(&updated));
        }
    }
    told(&open, false)
}

fn read(forge: &Forge<'_>, answer: &Response) -> Result<Open, String> {
    forge
        .read(answer)
        .ok_or_else(|| "the server's answer cannot be understood".to_owned())
}

fn told(open: &Open, created: bool) -> Result<Value, String> {
    Ok(json!({ "url": open.url, "number": open.number, "created": created }))
}

fn send(http: &impl Http, request: &Request) -> Result<Response, String> {
    http.send(request)
        .map_err(|failure| format!("{} ({})", failure.message, failure.code))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    /// Answers with the exchanges of a case, one after another, and keeps what was asked.
    struct Wire {
        answers: RefCell<VecDeque<Value>>,
        asked: RefCell<Vec<Value>>,
    }

    impl Http for Wire {
        fn send(&self, request: &Request) -> Result<Response, Failure> {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            self.asked.borrow_mut().push(json!({
                "method": request.method, "url": request.url, "headers": request.headers,
                "body": serde_json::from_str(&body).unwrap_or(Value::String(body)),
            }));
            let answer = self.answers.borrow_mut().pop_front().unwrap_or_default();
            let member = |name: &str| answer.get(name);
            match member("failure").and_then(Value::as_str) {
                Some(code) => Err(Failure {
                    code: code.to_owned(),
                    message: "The host's words.".to_owned(),
                }),
                None => Ok(Response {
                    status: member("status")
                        .and_then(Value::as_u64)
                        .and_then(|status| u16::try_from(status).ok())
                        .unwrap_or(599),
                    body: member("body")
                        .map(Value::to_string)
                        .unwrap_or_default()
                        .into(),
                }),
            }
        }
    }

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 25, |case| {
            let text = case.read("settings")?.to_string();
            if let Err(error) = Settings::check(&text) {
                return Ok(json!({ "settingsError": error }));
            }
            let settings = Settings::read(&text)?;
            let options = match Options::read(&case.read("options")?.to_string()) {
                Ok(options) => options,
                Err(error) => return Ok(json!({ "optionsError": error })),
            };
            let given = case.read("task")?;
            let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
            let task = Task {
                id: "t-1".to_owned(),
                created_at: "2026-11-24T09:30:00Z".to_owned(),
                repository: text("gitRepo"),
            };
            let before = case.read("outcome")?;
            let git = before.pointer("/results/git").map(Value::to_string);
            let answers = case.read("answers")?;
            let wire = Wire {
                answers: RefCell::new(answers.as_array().cloned().unwrap_or_default().into()),
                asked: RefCell::default(),
            };
            let mut outcome = match run(&wire, &settings, &options, &task, git.as_deref()) {
                Ok(value) => json!({ "value": value }),
                Err(error) => json!({ "error": error }),
            };
            if let Some(outcome) = outcome.as_object_mut() {
                outcome.insert("asked".to_owned(), Value::Array(wire.asked.take()));
            }
            Ok(outcome)
        });
        assert_eq!(result, Ok(()));
    }
}
