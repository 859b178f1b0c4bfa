//! What a guest may do, within its grants.

use super::no_task;
use crate::plugin::{Failure, OnConflict, Wanted};
use crate::wasm::bindings::{artifacts, failures, git, http, task_state, workspace};
use crate::wasm::guest::Guest;

impl task_state::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.missed_notes |= self.reach.notes.is_none();
        Ok(self.reach.notes.as_ref().and_then(|notes| notes.get(&key)))
    }

    fn set(
        &mut self,
        key: String,
        value: String,
    ) -> wasmtime::Result<Result<(), failures::Failure>> {
        self.missed_notes |= self.reach.notes.is_none();
        let notes = self.reach.notes.as_ref().ok_or_else(no_task);
        Ok(notes
            .and_then(|notes| notes.set(key, value))
            .map_err(Into::into))
    }

    fn add(&mut self, key: String, delta: i64) -> wasmtime::Result<Result<i64, failures::Failure>> {
        self.missed_notes |= self.reach.notes.is_none();
        let notes = self.reach.notes.as_ref().ok_or_else(no_task);
        Ok(notes
            .and_then(|notes| notes.add(key, delta))
            .map_err(Into::into))
    }
}

impl workspace::Host for Guest {
    async fn find(
        &mut self,
        patterns: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<workspace::Entry>, failures::Failure>> {
        let Some(workspace) = self.reach.workspace.clone() else {
            return Ok(Err(no_task().into()));
        };
        let found = workspace.find(patterns).await;
        let entry = |found: crate::plugin::Found| workspace::Entry {
            path: found.path,
            size: found.size,
        };
        Ok(found
            .map(|found| found.into_iter().map(entry).collect())
            .map_err(Into::into))
    }

    async fn read(
        &mut self,
        path: String,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, failures::Failure>> {
        let Some(workspace) = self.reach.workspace.clone() else {
            return Ok(Err(no_task().into()));
        };
        Ok(workspace
            .read(path, offset, length)
            .await
            .map_err(Into::into))
    }
}

impl From<crate::plugin::Stored> for artifacts::Stored {
    fn from(from: crate::plugin::Stored) -> Self {
        Self {
            path: from.path,
            uri: from.uri,
            size: from.size,
            content_type: from.content_type,
            sha256: from.sha256,
        }
    }
}

impl artifacts::Host for Guest {
    async fn upload(
        &mut self,
        path: String,
        prefix: Option<String>,
    ) -> wasmtime::Result<Result<artifacts::Stored, failures::Failure>> {
        let Some(artifacts) = self.reach.artifacts.clone() else {
            return Ok(Err(no_task().into()));
        };
        Ok(artifacts
            .upload(&path, prefix.as_deref())
            .await
            .map(Into::into)
            .map_err(Into::into))
    }

    async fn write(
        &mut self,
        name: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<Result<artifacts::Stored, failures::Failure>> {
        let Some(artifacts) = self.reach.artifacts.clone() else {
            return Ok(Err(no_task().into()));
        };
        Ok(artifacts
            .write(&name, content)
            .await
            .map(Into::into)
            .map_err(Into::into))
    }
}

/// A task without `gitRepo` has none, and so has a plugin that is only asked about itself.
fn no_repository() -> Failure {
    Failure::new(
        "no-repository",
        "the task has no repository: its request names no gitRepo",
    )
}

impl git::Host for Guest {
    async fn about_repository(
        &mut self,
    ) -> wasmtime::Result<Result<git::Repository, failures::Failure>> {
        let Some(repository) = &self.reach.git else {
            return Ok(Err(no_repository().into()));
        };
        let cloned = repository.cloned();
        Ok(Ok(git::Repository {
            url: cloned.url,
            branch: cloned.branch.unwrap_or_default(),
            commit: cloned.commit,
        }))
    }

    async fn changes(&mut self) -> wasmtime::Result<Result<Vec<git::Change>, failures::Failure>> {
        let Some(repository) = self.reach.git.clone() else {
            return Ok(Err(no_repository().into()));
        };
        let change = |change: crate::plugin::Change| git::Change {
            path: change.path,
            status: change.status,
        };
        let changes = repository.changes().await;
        Ok(changes
            .map(|changes| changes.into_iter().map(change).collect())
            .map_err(Into::into))
    }

    async fn commit(
        &mut self,
        options: git::CommitOptions,
    ) -> wasmtime::Result<Result<Option<git::CommitResult>, failures::Failure>> {
        let Some(repository) = self.reach.git.clone() else {
            return Ok(Err(no_repository().into()));
        };
        let committed = repository
            .commit(crate::plugin::Commit {
                message: options.message,
                paths: options.paths,
                author: options.author.map(|author| (author.name, author.email)),
            })
            .await;
        let result = |commit: crate::plugin::Committed| git::CommitResult {
            sha: commit.sha,
            message: commit.message,
            files: commit.files,
        };
        Ok(committed
            .map(|committed| committed.map(result))
            .map_err(Into::into))
    }

    async fn push(
        &mut self,
        options: git::PushOptions,
    ) -> wasmtime::Result<Result<git::PushResult, failures::Failure>> {
        let Some(repository) = self.reach.git.clone() else {
            return Ok(Err(no_repository().into()));
        };
        let on_conflict = match options.on_conflict {
            git::Conflict::Fail => OnConflict::Fail,
            git::Conflict::Rebase => OnConflict::Rebase,
            git::Conflict::NewBranch => OnConflict::NewBranch,
        };
        let pushed = repository
            .push(crate::plugin::Push {
                branch: options.branch,
                on_conflict,
            })
            .await;
        Ok(pushed.map(Into::into).map_err(Into::into))
    }
}

impl From<crate::plugin::Pushed> for git::PushResult {
    fn from(from: crate::plugin::Pushed) -> Self {
        Self {
            pushed: from.pushed,
            branch: from.branch,
            sha: from.sha,
            commits: from.commits,
            recovery: from.recovery.map(|recovery| git::Recovery {
                method: recovery.method.to_owned(),
                remote_sha: recovery.remote_sha,
                conflict_files: recovery.conflict_files,
            }),
        }
    }
}

impl http::Host for Guest {
    async fn send(
        &mut self,
        request: http::Request,
    ) -> wasmtime::Result<Result<http::Response, failures::Failure>> {
        let Some(http) = self.reach.http.clone() else {
            return Ok(Err(no_task().into()));
        };
        let answer = http
            .send(Wanted {
                method: request.method,
                url: request.url,
                headers: request.headers,
                body: request.body,
                timeout_ms: request.timeout_ms,
            })
            .await;
        let response = |answer: crate::plugin::HttpResponse| http::Response {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
        };
        Ok(answer.map(response).map_err(Into::into))
    }
}
