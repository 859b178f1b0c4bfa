//! How a run ended, judged from evidence: what stopped it, the last `result`, how the process ended.
//!
//! A run is completed only if a `result` was seen that is no error and the process ended by itself
//! with 0. An exit code alone, or a `subtype` alone, proves nothing.

use std::time::Duration;

use serde_json::Value;

use super::AgentEnd;
use super::protocol::TurnResult;
use crate::isolation::Ended;
use crate::redact::Redactor;
use crate::task::{AgentSummary, Reason, Status};

/// Bytes of the final text that are kept.
const MOST_RESULT: usize = 256 * 1024;
/// Bytes of an error that are shown.
const MOST_ERROR: usize = 1024;

/// Why we ended a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Somebody asked.
    Cancelled,
    /// The task's own limit.
    Total(Duration),
    /// Nothing came at all.
    NoFirstEvent(Duration),
    /// Nothing came any more.
    Idle(Duration),
    /// It did not end after its result.
    NoExit(Duration),
    /// The hook was not taken.
    NoGate(String),
    /// An MCP server that must be there is not.
    NoServer { server: String, why: String },
    /// It broke the protocol.
    Confused(&'static str),
}

/// All that is known of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// Set where the end was our doing.
    pub(super) stop: Option<Stop>,
    /// The last one.
    pub(super) result: Option<TurnResult>,
    /// None where that is unknown.
    pub(super) ended: Option<Ended>,
    /// The end of what it wrote to standard error, redacted.
    pub(super) complaint: String,
    /// Calls that were denied.
    pub(super) denied_calls: u32,
}

/// The verdict; `schema` is what a completed run's answer must look like. Its texts are free of secrets:
/// cut where they are long, they could not be redacted later.
pub(super) fn judge(evidence: &Evidence, schema: Option<&Value>, redactor: &Redactor) -> AgentEnd {
    let verdict = match (verdict(evidence), schema, &evidence.result) {
        (Verdict::Completed, Some(schema), Some(result)) => answered(result, schema),
        (verdict, ..) => verdict,
    };
    let (status, reason, exit_code, error) = match verdict {
        Verdict::Completed => (Status::Completed, None, 0, None),
        Verdict::Cancelled => (
            Status::Cancelled,
            None,
            130,
            Some("Task cancelled by user".to_owned()),
        ),
        Verdict::Failed(reason, exit_code, error) => {
            (Status::Failed, Some(reason), exit_code, Some(error))
        }
    };
    let result = evidence.result.as_ref();
    let mut summary = result
        .map(|result| summary(result, redactor))
        .unwrap_or_default();
    if status != Status::Completed {
        summary.structured_output = None;
    }
    summary.denied_calls = evidence.denied_calls;
    AgentEnd {
        status,
        reason,
        exit_code,
        error: error.map(|error| start_of(&redactor.text(&error), MOST_ERROR)),
        summary,
    }
}

/// The agent could not be started.
pub(super) fn not_started(error: &dyn std::error::Error) -> AgentEnd {
    AgentEnd {
        status: Status::Failed,
        reason: Some(Reason::Setup),
        exit_code: 1,
        error: Some(format!("the agent could not be started: {error}")),
        summary: AgentSummary::default(),
    }
}

enum Verdict {
    Completed,
    Cancelled,
    Failed(Reason, i32, String),
}

fn verdict(evidence: &Evidence) -> Verdict {
    if let Some(stop) = &evidence.stop {
        return stopped(stop);
    }
    let code = match evidence.ended {
        Some(Ended::Code(code)) => code,
        Some(Ended::Signal(signal)) => return killed(signal),
        None => {
            return Verdict::Failed(
                Reason::Internal,
                1,
                "how the agent ended is unknown".to_owned(),
            );
        }
    };
    // Whatever is not a success has a code that says so.
    let failing = if code == 0 { 1 } else { code };
    let Some(result) = &evidence.result else {
        // The CLI catches TERM and ends with its number.
        if let Some(signal @ (9 | 15)) = code.checked_sub(128) {
            return killed(signal);
        }
        let error = format!("the agent ended without a result (exit code {code})");
        return Verdict::Failed(
            Reason::AgentError,
            failing,
            with_complaint(error, &evidence.complaint),
        );
    };
    if let Some(reason) = fault(result) {
        return Verdict::Failed(reason, failing, said(result));
    }
    if code != 0 {
        let error = format!("the agent reported success but ended with exit code {code}");
        return Verdict::Failed(
            Reason::AgentError,
            code,
            with_complaint(error, &evidence.complaint),
        );
    }
    Verdict::Completed
}

/// The CLI may end well without an answer, and whether one is of the schema is ours to know.
fn answered(result: &TurnResult, schema: &Value) -> Verdict {
    let failed = |error: String| Verdict::Failed(Reason::AgentError, 1, error);
    let Some(answer) = &result.structured_output else {
        return failed(
            "the agent ended without an answer of the form that outputSchema asks for".to_owned(),
        );
    };
    if answer.to_string().len() > MOST_RESULT {
        return failed(format!(
            "the agent's structured answer is longer than {MOST_RESULT} bytes"
        ));
    }
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(_) => return failed("outputSchema cannot be read".to_owned()),
    };
    match validator.validate(answer) {
        Ok(()) => Verdict::Completed,
        Err(error) => failed(format!(
            "the agent's structured answer is not what outputSchema asks for, at {:?}",
            error.instance_path().to_string()
        )),
    }
}

fn stopped(stop: &Stop) -> Verdict {
    let stalled = |error: String| Verdict::Failed(Reason::Stalled, 1, error);
    match stop {
        Stop::Cancelled => Verdict::Cancelled,
        Stop::Total(limit) => {
            let error = format!("the agent did not end within {limit:?}");
            Verdict::Failed(Reason::TimedOut, 124, error)
        }
        Stop::NoFirstEvent(limit) => {
            stalled(format!("no event came from the agent within {limit:?}"))
        }
        Stop::Idle(limit) => stalled(format!("no event came from the agent for {limit:?}")),
        Stop::NoExit(limit) => stalled(format!(
            "the agent did not end within {limit:?} of its result"
        )),
        Stop::NoGate(why) => Verdict::Failed(Reason::Policy, 1, why.clone()),
        Stop::NoServer { server, why } => {
            let error =
                format!("the MCP server {server}, which the task requires, did not start: {why}");
            Verdict::Failed(Reason::Setup, 1, error)
        }
        Stop::Confused(why) => Verdict::Failed(Reason::AgentError, 1, (*why).to_owned()),
    }
}

fn killed(signal: i32) -> Verdict {
    let name = nix::sys::signal::Signal::try_from(signal)
        .map_or("an unknown signal", |signal| signal.as_str());
    let hint = if signal == 9 {
        ", perhaps for lack of memory"
    } else {
        ""
    };
    Verdict::Failed(
        Reason::Killed,
        128 + signal,
        format!("the agent was ended by {name}{hint}"),
    )
}

/// Why a result is no success, if it is none.
fn fault(result: &TurnResult) -> Option<Reason> {
    match result.subtype.as_str() {
        "error_max_turns" => return Some(Reason::MaxTurns),
        "error_max_budget_usd" => return Some(Reason::Budget),
        _ => {}
    }
    if result.is_error == Some(false) && result.subtype == "success" {
        return None;
    }
    let of_the_api =
        result.api_error_status.is_some() || result.terminal_reason.as_deref() == Some("api_error");
    Some(if of_the_api {
        Reason::ApiError
    } else {
        Reason::AgentError
    })
}

/// The error in the CLI's own words.
fn said(result: &TurnResult) -> String {
    if result.subtype == "error_max_structured_output_retries" {
        let last = result.errors.join("; ");
        return format!(
            "the agent did not manage to give an answer of the form that outputSchema asks for: {last}"
        );
    }
    let text = result.result.clone().filter(|text| !text.trim().is_empty());
    text.or_else(|| (!result.errors.is_empty()).then(|| result.errors.join("; ")))
        .unwrap_or_else(|| format!("the agent reported {}", result.subtype))
}

fn with_complaint(error: String, complaint: &str) -> String {
    let complaint = complaint.trim();
    if complaint.is_empty() {
        error
    } else {
        format!("{error}: {}", end_of(complaint, MOST_ERROR / 2))
    }
}

fn summary(result: &TurnResult, redactor: &Redactor) -> AgentSummary {
    let detail = result
        .terminal_reason
        .iter()
        .fold(result.subtype.clone(), |all, more| format!("{all}/{more}"));
    AgentSummary {
        result: result
            .result
            .as_deref()
            .map(|text| start_of(&redactor.text(text), MOST_RESULT)),
        turns: result.num_turns,
        cost_usd: result.total_cost_usd,
        session_id: result.session_id.clone(),
        // The broker's count is the true one.
        usage: None,
        structured_output: result.structured_output.as_ref().map(|answer| {
            let redacted = redactor.line(answer.to_string().as_bytes()).into_owned();
            serde_json::from_slice(&redacted).unwrap_or_default()
        }),
        terminal_reason: Some(detail),
        denied_calls: 0,
    }
}

fn start_of(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!(
        "{}…",
        text.get(..text.floor_char_boundary(most))
            .unwrap_or_default()
    )
}

fn end_of(text: &str, most: usize) -> &str {
    text.get(text.ceil_char_boundary(text.len().saturating_sub(most))..)
        .unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
