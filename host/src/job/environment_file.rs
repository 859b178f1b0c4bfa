//! `environmentSecrets` as a file, for programs that read `.env` and not their environment.

use secrecy::ExposeSecret;
use serde_json::json;

use super::{Failure, dotenv};
use crate::admission::{EnvFile, Request};
use crate::isolation::Sandbox;
use crate::plugin::Workspace;
use crate::task::{EventLog, Reason};

const NAME: &str = ".env";
/// What is added to what git leaves out.
const EXCLUDED: &str = "/.env\n";
/// A longer `info/exclude` is nobody's honest work.
const LONGEST_EXCLUDE: u32 = 1 << 20;

/// Paths in the workspace that are ours and not the task's: no commit may hold them, whatever the
/// agent made of git's own list of exceptions.
pub(super) fn placed_in_workspace(request: &Request) -> &'static [&'static str] {
    match request.env_file {
        EnvFile::Workspace if !request.environment_secrets.is_empty() => &[NAME],
        _ => &[],
    }
}

/// Writes the file where the request wants it, for the agent alone. The workspace is as it was cloned
/// and nothing of the task runs yet.
pub(super) async fn write(
    sandbox: &Sandbox,
    request: &Request,
    log: &EventLog,
) -> Result<(), Failure> {
    let place = match request.env_file {
        EnvFile::Outside => sandbox.home(),
        EnvFile::Workspace => sandbox.workspace(),
        EnvFile::None => return Ok(()),
    };
    if request.environment_secrets.is_empty() {
        return Ok(());
    }
    let mut content = zeroize::Zeroizing::new(String::new());
    for (name, value) in &request.environment_secrets {
        match dotenv::line(name, value.expose_secret()) {
            Some(line) => content.push_str(&line),
            None => {
                let event =
                    json!({"phase": "environment", "event": "left_out_of_env_file", "name": name});
                log.say(event).await;
            }
        }
    }
    if !placed_in_workspace(request).is_empty() {
        // Also a link that leads nowhere is the repository's.
        if place.join(NAME).symlink_metadata().is_ok() {
            return Err(Failure::told(
                Reason::Setup,
                "The repository has a .env of its own, which envFile \"workspace\" would overwrite; \
                 use \"outside\" or \"none\"",
            ));
        }
        exclude(sandbox).await?;
    }
    sandbox
        .write_for_agent(&place.join(NAME), content.as_bytes())
        .map_err(|source| Failure::fault("writing the environment's file", source))
}

/// Has the agent's own `git add` leave the file out, where there is a repository.
async fn exclude(sandbox: &Sandbox) -> Result<(), Failure> {
    const LIST: &str = ".git/info/exclude";
    let git = sandbox.workspace().join(".git").symlink_metadata();
    if !git.is_ok_and(|git| git.is_dir()) {
        return Ok(());
    }
    let refused = || {
        Failure::told(
            Reason::Setup,
            "The repository's .git/info/exclude cannot be extended, which envFile \"workspace\" needs",
        )
    };
    let workspace = Workspace::open(sandbox.workspace())
        .map_err(|source| Failure::fault("reading the workspace", source))?;
    let mut list = match workspace.read(LIST.to_owned(), 0, LONGEST_EXCLUDE).await {
        Ok(list) if list.len() < LONGEST_EXCLUDE as usize => list,
        Err(failure) if failure.code == "not-found" => Vec::new(),
        _ => return Err(refused()),
    };
    if !list.is_empty() && !list.ends_with(b"\n") {
        list.push(b'\n');
    }
    list.extend_from_slice(EXCLUDED.as_bytes());
    sandbox
        .write_for_agent(&sandbox.workspace().join(LIST), &list)
        .map_err(|_| refused())
}
