//! The component: the contract's types on one side, this crate's on the other.

use crate::{
    Cloned, Commit, Committed, Conflict, Failure, Git, Options, Pushed, Recovery, SCHEMA, Settings,
};
use exports::gatehouse::plugin::about::{self, Description};
use exports::gatehouse::plugin::post_action::{self, Outcome, Task};
use gatehouse::plugin::{failures, git, host};

wit_bindgen::generate!({ path: "../../wit", world: "post-execution" });

struct GitAction;

impl about::Guest for GitAction {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Commits what the agent changed and pushes it, its own commits included."
                .into(),
            settings_schema: SCHEMA.into(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::check(&settings)
    }
}

impl post_action::Guest for GitAction {
    fn check_options(options: String) -> Result<(), String> {
        let settings = Settings::read(&host::settings())?;
        Options::read(&options, &settings).map(|_| ())
    }

    fn run(task: Task, _outcome: Outcome, options: String) -> Result<String, String> {
        let settings = Settings::read(&host::settings())?;
        let options = Options::read(&options, &settings)?;
        let task = crate::Task {
            id: task.id(),
            created_at: task.created_at(),
        };
        crate::run(&Host, &settings, &options, &task).map(|value| value.to_string())
    }
}

struct Host;

impl Git for Host {
    fn about(&self) -> Result<Cloned, Failure> {
        let repository = git::about_repository()?;
        Ok(Cloned {
            branch: repository.branch,
        })
    }

    fn commit(&self, commit: Commit) -> Result<Option<Committed>, Failure> {
        let author = |(name, email)| git::Author { name, email };
        let committed = git::commit(&git::CommitOptions {
            message: commit.message,
            paths: commit.paths,
            author: commit.author.map(author),
        })?;
        Ok(committed.map(|committed| Committed {
            sha: committed.sha,
            message: committed.message,
            files: committed.files,
        }))
    }

    fn push(&self, branch: &str, on_conflict: Conflict) -> Result<Pushed, Failure> {
        let pushed = git::push(&git::PushOptions {
            branch: branch.to_owned(),
            on_conflict: match on_conflict {
                Conflict::Auto => git::Conflict::Rebase,
                Conflict::Fail => git::Conflict::Fail,
            },
        })?;
        Ok(Pushed {
            pushed: pushed.pushed,
            branch: pushed.branch,
            sha: pushed.sha,
            commits: pushed.commits,
            recovery: pushed.recovery.map(|recovery| Recovery {
                method: recovery.method,
                remote_sha: recovery.remote_sha,
                conflict_files: recovery.conflict_files,
            }),
        })
    }
}

impl From<failures::Failure> for Failure {
    fn from(failure: failures::Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message,
        }
    }
}

export!(GitAction);
