//! What happens once the agent's processes are gone: the post-execution plugins, in the manifest's
//! order, each with the options that the caller or the operator gave it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::gate::redact;
use super::interrupt::{Cause, Interrupt};
use crate::admission::{Request, action_key};
use crate::plugin::{Action, ActionWhen, Capabilities, Journal, OutcomeView, PluginSet, TaskView};
use crate::redact::Redactor;
use crate::task::{ActionResult, ActionStatus, Ending, EventLog, Reason, Status};

/// Bytes of a commit's message in the report: as many as `commitMessage` may have.
const MESSAGE: usize = 64 << 10;

/// Everything that actions need.
#[derive(Debug)]
pub(super) struct Actions<'a> {
    pub(super) plugins: &'a PluginSet,
    pub(super) task: Arc<TaskView>,
    pub(super) log: &'a EventLog,
    pub(super) decisions: &'a Journal,
    pub(super) redactor: &'a Redactor,
    pub(super) capabilities: Capabilities,
    pub(super) interrupt: &'a Interrupt,
}

/// One action that was asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    /// In the report.
    key: String,
    plugin: String,
    when: ActionWhen,
    options: Value,
    /// Whether what it returns is the report's `gitCommit`.
    commits: bool,
    /// Whether a task that completed fails where it does.
    required: bool,
    /// Set where it cannot be run at all.
    impossible: Option<&'static str>,
}

impl Asked {
    /// Whether it is to run after a task that ended like this.
    pub(super) fn is_due(&self, status: Status) -> bool {
        self.impossible.is_none() && self.when.fits(status)
    }
}

/// Those of the operator and those of the request, in the manifest's order.
pub(super) fn asked(actions: Vec<Action>, request: &Request) -> Vec<Asked> {
    let of_the_request = |plugin: &str| {
        let mut asked = request.post_execution_actions.iter();
        asked.find(|asked| asked.plugin == plugin)
    };
    let asked = actions.into_iter().filter_map(|action| {
        let (key, when, options) = match action.standing {
            Some(standing) => (action_key(&action.plugin), standing.when, standing.options),
            None => {
                let asked = of_the_request(&action.plugin)?;
                (asked.key.clone(), asked.when, asked.options.clone())
            }
        };
        let lacks = action.needs_repository && request.git_repo.is_none();
        Some(Asked {
            key,
            plugin: action.plugin,
            when,
            options,
            commits: action.commits,
            required: action.required,
            impossible: lacks.then_some("the request has no gitRepo"),
        })
    });
    asked.collect()
}

impl Actions<'_> {
    /// Runs what is due after this end and notes there what became of each. One that fails does not
    /// keep the others from running; one that is required turns a completed task into a failed one, so
    /// that those behind it run as after any failure. A task that is cancelled meanwhile ends as such: what runs is
    /// waited for, and then only what is due after a cancelled task is begun.
    pub(super) async fn run(&self, asked: Vec<Asked>, ending: &mut Ending) {
        let mut outcome = outcome(ending);
        for asked in asked {
            if self.interrupt.cause() == Some(Cause::Cancelled) {
                cancel(ending);
            }
            let result = if asked.is_due(ending.status) {
                self.run_one(&asked, &mut outcome, ending).await
            } else {
                ActionResult {
                    status: ActionStatus::Skipped,
                    result: None,
                    error: Some(asked.impossible.map_or_else(
                        || {
                            format!(
                                "the task is {}, and when is {}",
                                ending.status.as_str(),
                                asked.when.as_str()
                            )
                        },
                        str::to_owned,
                    )),
                }
            };
            self.log
                .say(json!({
                    "phase": "actions", "action": asked.key, "state": result.status,
                    "result": result.result, "error": result.error,
                }))
                .await;
            if asked.required && result.status == ActionStatus::Error {
                let why = result.error.as_deref().unwrap_or_default();
                fail(ending, &asked.key, why);
            }
            ending.actions.insert(asked.key, result);
        }
        if self.interrupt.cause() == Some(Cause::Cancelled) {
            cancel(ending);
        }
    }

    /// With the message of the commit that stands there, where the action itself made none.
    async fn git_commit(&self, result: &Value) -> Option<Map<String, Value>> {
        let mut told = commit_told(result)?;
        if !told.contains_key("message")
            && let Some(sha) = told.get("sha").and_then(Value::as_str)
            && let Some(git) = &self.capabilities.git
            && let Some(message) = git.message(sha).await
        {
            let message = self.redactor.head(message.as_bytes(), MESSAGE);
            let message = String::from_utf8_lossy(&message).into_owned();
            told.insert("message".to_owned(), message.into());
        }
        Some(told)
    }

    async fn run_one(
        &self,
        asked: &Asked,
        outcome: &mut OutcomeView,
        ending: &mut Ending,
    ) -> ActionResult {
        self.log
            .say(json!({"phase": "actions", "action": asked.key, "state": "started"}))
            .await;
        outcome.status = ending.status.as_str().to_owned();
        outcome.reason = ending.reason.and_then(word);
        let mut capabilities = self.capabilities.clone();
        let kept = u32::try_from(ending.uploaded_files.len()).unwrap_or(u32::MAX);
        capabilities.max_artifacts = capabilities.max_artifacts.saturating_sub(kept);
        let run = self
            .plugins
            .run_action(
                &asked.plugin,
                Arc::clone(&self.task),
                Arc::new(outcome.clone()),
                &asked.options,
                capabilities,
            )
            .await;
        let mut decisions = [run.decision];
        redact(&mut decisions, self.redactor);
        self.decisions.add(&decisions);
        ending.uploaded_files.extend(run.uploaded);
        match run.result {
            Ok(result) => {
                let result = self.redactor.json(&result);
                if asked.commits
                    && let Some(commit) = self.git_commit(&result).await
                {
                    ending.git_commit = Some(commit);
                }
                outcome.results.insert(asked.plugin.clone(), result.clone());
                ActionResult {
                    status: ActionStatus::Ok,
                    result: Some(result),
                    error: None,
                }
            }
            Err(error) => ActionResult {
                status: ActionStatus::Error,
                result: None,
                error: Some(self.redactor.text(&error)),
            },
        }
    }
}

/// What of an action's result the older service told as `gitCommit`; none where it left no commit.
fn commit_told(result: &Value) -> Option<Map<String, Value>> {
    const MEMBERS: [&str; 5] = ["sha", "message", "pushed", "branch", "recovery"];
    let result = result.as_object()?;
    result.get("sha")?;
    let member = |name: &str| Some((name.to_owned(), result.get(name)?.clone()));
    Some(MEMBERS.into_iter().filter_map(member).collect())
}

/// The agent's own end is still told.
fn cancel(ending: &mut Ending) {
    if ending.status != Status::Cancelled {
        let cancelled = Ending::cancelled();
        ending.status = cancelled.status;
        ending.reason = cancelled.reason;
        ending.exit_code = cancelled.exit_code;
        ending.error = cancelled.error;
    }
}

/// Characters of an action's own words that a task's error tells; all of them stand at the action.
const WHY: usize = 500;

/// A required action failed. What ended otherwise than by completing has a reason of its own.
fn fail(ending: &mut Ending, action: &str, why: &str) {
    if ending.status == Status::Completed {
        let why: String = why.chars().take(WHY).collect();
        let error = format!("The action {action}, which this gateway requires, failed: {why}");
        let failed = Ending::failed(Reason::Policy, error);
        ending.status = failed.status;
        ending.reason = failed.reason;
        ending.exit_code = failed.exit_code;
        ending.error = failed.error;
    }
}

/// As the API writes it.
fn word(reason: Reason) -> Option<String> {
    let value = serde_json::to_value(reason).ok()?;
    value.as_str().map(str::to_owned)
}

fn outcome(ending: &Ending) -> OutcomeView {
    OutcomeView {
        status: ending.status.as_str().to_owned(),
        reason: ending.reason.and_then(word),
        exit_code: (ending.exit_code < 128).then_some(ending.exit_code),
        result_text: ending.agent.result.clone(),
        turns: ending.agent.turns.unwrap_or(0),
        cost_usd: ending.agent.cost_usd,
        results: BTreeMap::new(),
    }
}

#[cfg(test)]
#[path = "actions_tests.rs"]
mod tests;
