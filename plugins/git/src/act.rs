//! Committing and pushing.

use options::{Template, branch};
use serde_json::{Map, Value, json};

use crate::options::PROTECTED;
use crate::{Conflict, Options, Settings};

/// Why the host refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Of the task what is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// As the host tells it.
    pub created_at: String,
}

/// What was cloned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloned {
    /// Empty where a tag or a commit was asked for.
    pub branch: String,
}

/// What to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whole.
    pub message: String,
    /// None for everything that changed.
    pub paths: Option<Vec<String>>,
    /// Name and address.
    pub author: Option<(String, String)>,
}

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Full.
    pub sha: String,
    /// Whole.
    pub message: String,
    /// How many it changes.
    pub files: u32,
}

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// False where there was nothing to push.
    pub pushed: bool,
    /// What holds it.
    pub branch: String,
    /// What stands there.
    pub sha: String,
    /// How many were new there.
    pub commits: u32,
    /// How a conflict was resolved.
    pub recovery: Option<Recovery>,
}

/// How a conflict was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// `rebase` or `new-branch`.
    pub method: String,
    /// What stood at the remote branch.
    pub remote_sha: String,
    /// What both sides had changed.
    pub conflict_files: Vec<String>,
}

/// What the host does for this plugin.
pub trait Git {
    /// What was cloned.
    ///
    /// # Errors
    /// There is no repository.
    fn about(&self) -> Result<Cloned, Failure>;

    /// Commits; none where nothing changed.
    ///
    /// # Errors
    /// The host refused.
    fn commit(&self, commit: Commit) -> Result<Option<Committed>, Failure>;

    /// Pushes every commit that is new.
    ///
    /// # Errors
    /// The host refused.
    fn push(&self, branch: &str, on_conflict: Conflict) -> Result<Pushed, Failure>;
}

/// Where to push, and why it is not where one would expect.
struct Target {
    branch: String,
    note: Option<String>,
}

/// Commits and pushes; the value is `{sha, message?, pushed, branch?, base?, commits?, files?,
/// recovery?, note?}`, without `sha` where there is no new commit.
///
/// # Errors
/// What kept it from being done.
pub fn run(
    git: &impl Git,
    settings: &Settings,
    options: &Options,
    task: &Task,
) -> Result<Value, String> {
    let cloned = git.about().map_err(|failure| told("", failure))?;
    // Before anything is done, so that what cannot be finished is not begun.
    let target = match options.push {
        true => Some(target(&cloned, settings, options, task)?),
        false => None,
    };
    let mut value = Map::new();
    let mut notes: Vec<String> = Vec::new();
    value.insert("pushed".to_owned(), false.into());

    let committed = match options.commit {
        true => git
            .commit(commit(settings, options, task))
            .map_err(|failure| told("commit: ", failure))?,
        false => None,
    };
    match &committed {
        Some(committed) => {
            value.insert("sha".to_owned(), committed.sha.clone().into());
            value.insert("message".to_owned(), committed.message.clone().into());
            value.insert("files".to_owned(), committed.files.into());
        }
        None if options.commit => notes.push("nothing changed that could be committed".to_owned()),
        None if !options.push => notes.push("neither commit nor push was asked for".to_owned()),
        None => {}
    }

    if let Some(target) = target {
        let pushed = git
            .push(&target.branch, options.on_conflict)
            .map_err(|failure| told("push: ", failure))?;
        if pushed.pushed {
            notes.extend(target.note);
            report(&pushed, &cloned, &mut value);
        } else {
            notes.push("there was no new commit to push".to_owned());
            if committed.is_some() {
                // Somebody else had pushed the same; ours is nowhere but here.
                value.insert("sha".to_owned(), pushed.sha.into());
            }
        }
    }
    if !notes.is_empty() {
        value.insert("note".to_owned(), notes.join("; ").into());
    }
    Ok(Value::Object(value))
}

/// What stands at the remote is what counts, also where it is no more what was committed here.
fn report(pushed: &Pushed, cloned: &Cloned, value: &mut Map<String, Value>) {
    value.insert("sha".to_owned(), pushed.sha.clone().into());
    value.insert("pushed".to_owned(), true.into());
    value.insert("branch".to_owned(), pushed.branch.clone().into());
    value.insert("commits".to_owned(), pushed.commits.into());
    if !cloned.branch.is_empty() {
        value.insert("base".to_owned(), cloned.branch.clone().into());
    }
    if let Some(recovery) = &pushed.recovery {
        let recovery = json!({
            "method": recovery.method,
            "remoteSha": recovery.remote_sha,
            "conflictFiles": recovery.conflict_files,
        });
        value.insert("recovery".to_owned(), recovery);
    }
}

fn target(
    cloned: &Cloned,
    settings: &Settings,
    options: &Options,
    task: &Task,
) -> Result<Target, String> {
    if let Some(template) = &options.branch {
        let branch = template.fill(&task.id, &task.created_at);
        branch::check(&branch).map_err(|sentence| format!("branch: {sentence}"))?;
        if settings.protecting(&branch).is_some() {
            return Err(PROTECTED.to_owned());
        }
        return Ok(Target { branch, note: None });
    }
    if cloned.branch.is_empty() {
        return Err(
            "branch: gitBranch named a tag or a commit, so say which branch shall be pushed"
                .to_owned(),
        );
    }
    if settings.protecting(&cloned.branch).is_none() {
        return Ok(Target {
            branch: cloned.branch.clone(),
            note: None,
        });
    }
    let branch = Template::new(&settings.new_branch).fill(&task.id, &task.created_at);
    branch::check(&branch).map_err(|sentence| format!("settings: new_branch: {sentence}"))?;
    let note = format!(
        "`{}` is protected here, so a new branch was pushed",
        cloned.branch
    );
    Ok(Target {
        branch,
        note: Some(note),
    })
}

fn commit(settings: &Settings, options: &Options, task: &Task) -> Commit {
    let default = Template::new(&settings.message);
    let template = options.message.as_ref().unwrap_or(&default);
    let mut message = template.fill(&task.id, &task.created_at);
    if settings.trailers {
        message = with_trailer(&message, &format!("Task-Id: {}", task.id));
    }
    Commit {
        message,
        paths: options.files.clone(),
        author: settings
            .author_name
            .clone()
            .zip(settings.author_email.clone()),
    }
}

/// Git reads trailers from the last paragraph only, so one more goes into it where it holds trailers.
fn with_trailer(message: &str, trailer: &str) -> String {
    let message = message.trim_end();
    let last = message.rsplit_once("\n\n").map(|(_, last)| last);
    let is_trailer = |line: &str| {
        line.split_once(": ").is_some_and(|(token, _)| {
            !token.is_empty()
                && token
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let joins = last.is_some_and(|last| last.lines().all(is_trailer));
    let between = if joins { "\n" } else { "\n\n" };
    format!("{message}{between}{trailer}\n")
}

fn told(what: &str, failure: Failure) -> String {
    format!("{what}{} ({})", failure.message, failure.code)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Answers by `host.json` of a case and keeps what it was asked.
    struct Host {
        case: Value,
        asked: RefCell<Map<String, Value>>,
    }

    impl Host {
        fn text(&self, name: &str, default: &str) -> String {
            let value = self.case.get(name).and_then(Value::as_str);
            value.unwrap_or(default).to_owned()
        }

        fn fails(&self, name: &str) -> Result<(), Failure> {
            match self.case.get(name).and_then(|answer| answer.get("code")) {
                Some(code) => Err(Failure {
                    code: code.as_str().unwrap_or_default().to_owned(),
                    message: "The host's words.".to_owned(),
                }),
                None => Ok(()),
            }
        }
    }

    impl Git for Host {
        fn about(&self) -> Result<Cloned, Failure> {
            self.fails("about")?;
            Ok(Cloned {
                branch: self.text("cloned", "main"),
            })
        }

        fn commit(&self, commit: Commit) -> Result<Option<Committed>, Failure> {
            let asked = json!({
                "message": commit.message, "paths": commit.paths, "author": commit.author,
            });
            self.asked.borrow_mut().insert("commit".to_owned(), asked);
            self.fails("commit")?;
            let clean = self.case.get("clean").is_some();
            Ok((!clean).then(|| Committed {
                sha: "c0ffee".to_owned(),
                message: commit.message,
                files: 2,
            }))
        }

        fn push(&self, branch: &str, on_conflict: Conflict) -> Result<Pushed, Failure> {
            // In the words of the contract.
            let on_conflict = match on_conflict {
                Conflict::Auto => "rebase",
                Conflict::Fail => "fail",
            };
            let asked = json!([branch, on_conflict]);
            self.asked.borrow_mut().insert("push".to_owned(), asked);
            self.fails("push")?;
            let recovery = self.case.get("recovery").and_then(Value::as_str);
            Ok(Pushed {
                pushed: self.case.get("nothingNew").is_none(),
                branch: self.text("landed", branch),
                sha: self.text("stands", "c0ffee"),
                commits: 1,
                recovery: recovery.map(|method| Recovery {
                    method: method.to_owned(),
                    remote_sha: "beef".to_owned(),
                    conflict_files: vec!["a".to_owned()],
                }),
            })
        }
    }

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 30, |case| {
            let text = case.read("settings")?.to_string();
            if let Err(error) = Settings::check(&text) {
                return Ok(json!({ "settingsError": error }));
            }
            let settings = Settings::read(&text)?;
            let options = match Options::read(&case.read("options")?.to_string(), &settings) {
                Ok(options) => options,
                Err(error) => return Ok(json!({ "optionsError": error })),
            };
            let host = Host {
                case: case.read("host")?,
                asked: RefCell::default(),
            };
            let task = Task {
                id: "t-1".to_owned(),
                created_at: "2026-11-24T09:30:00Z".to_owned(),
            };
            let value = match run(&host, &settings, &options, &task) {
                Ok(value) => json!({ "value": value }),
                Err(error) => json!({ "error": error }),
            };
            let mut outcome = value;
            if let Some(outcome) = outcome.as_object_mut() {
                outcome.insert("asked".to_owned(), Value::Object(host.asked.take()));
            }
            Ok(outcome)
        });
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn a_trailer_joins_those_that_are_there() {
        let add = |message| with_trailer(message, "Task-Id: t");
        assert_eq!(add("One"), "One\n\nTask-Id: t\n");
        assert_eq!(add("fix: one"), "fix: one\n\nTask-Id: t\n");
        assert_eq!(add("One\n\nText.\n"), "One\n\nText.\n\nTask-Id: t\n");
        assert_eq!(
            add("One\n\nSigned-off-by: A <a@b>\nFixes: #1\n"),
            "One\n\nSigned-off-by: A <a@b>\nFixes: #1\nTask-Id: t\n"
        );
    }
}
