//! Asks every function of `git` once and reports what came of it: `{"repository", "changes", "commit",
//! "push"}`, each a text or `{"refused": code}`. Needs the grant `git`.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::post_action::{Guest, Outcome, Task};
use gatehouse::plugin::failures::Failure;
use gatehouse::plugin::git::{self, CommitOptions, Conflict, PushOptions};
use serde_json::{Value, json};

guests::guest!(
    "post-execution",
    UsesGit,
    "uses-git",
    "Asks every function of git once."
);

struct UsesGit;

impl Guest for UsesGit {
    fn check_options(_options: String) -> Result<(), String> {
        Ok(())
    }

    fn run(_task: Task, _outcome: Outcome, options: String) -> Result<String, String> {
        let options: Value = serde_json::from_str(&options).map_err(|error| error.to_string())?;
        let branch = options.get("branch").and_then(Value::as_str);
        let commit = CommitOptions {
            message: "as a guest".into(),
            paths: None,
            author: None,
        };
        let push = PushOptions {
            branch: branch.unwrap_or("main").to_owned(),
            on_conflict: Conflict::Fail,
        };
        Ok(json!({
            "repository": told(git::about_repository()),
            "changes": told(git::changes()),
            "commit": told(git::commit(&commit)),
            "push": told(git::push(&push)),
        })
        .to_string())
    }
}

fn told<T: std::fmt::Debug>(answer: Result<T, Failure>) -> Value {
    match answer {
        Ok(answer) => format!("{answer:?}").into(),
        Err(failure) => json!({ "refused": failure.code }),
    }
}
