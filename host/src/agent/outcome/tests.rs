#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::admission::PermissionMode;
use crate::agent::AgentTask;
use crate::agent::protocol::{Event, Frame, read};

fn judge(evidence: &Evidence) -> AgentEnd {
    super::judge(evidence, None, &Redactor::default())
}

/// A task without anything special.
pub(in crate::agent) fn task() -> AgentTask {
    AgentTask {
        binary: "/nowhere/claude".into(),
        prompt: "go".into(),
        system_prompt: None,
        append_system_prompt: None,
        allowed_tools: vec![],
        disallowed_tools: vec![],
        permission_mode: PermissionMode::Default,
        max_turns: 6,
        max_budget_usd: None,
        model: None,
        fallback_model: None,
        mcp_config: None,
        required_mcp_servers: vec![],
        output_schema: None,
        trusts_workspace: false,
        subagents: BTreeMap::new(),
        cwd: "/nowhere".into(),
        env: BTreeMap::new(),
        limits: crate::config::Agent {
            claude_bin: None,
            first_event_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(900),
            after_result_timeout: Duration::from_secs(10),
            term_grace: Duration::from_secs(5),
            max_line: 8 << 20,
            mcp_start_timeout: std::time::Duration::from_secs(30),
            decision_timeout: Duration::from_secs(5),
        },
        approval_timeout: Duration::from_secs(900),
        total: Duration::from_secs(3300),
    }
}

/// Judges a run whose last `result` line is `result` and that ended with `code`.
fn judged(result: Value, code: i32) -> AgentEnd {
    let mut line = result;
    line["type"] = "result".into();
    let Frame::Event(Event::Result(result)) = read(line.to_string().as_bytes()) else {
        panic!("no result")
    };
    let ended = Some(Ended::Code(code));
    judge(&Evidence {
        result: Some(*result),
        ended,
        ..Evidence::default()
    })
}

fn without_result(ended: Ended, complaint: &str) -> AgentEnd {
    judge(&Evidence {
        ended: Some(ended),
        complaint: complaint.to_owned(),
        ..Evidence::default()
    })
}

fn success() -> Value {
    json!({
        "subtype": "success", "is_error": false, "api_error_status": null, "num_turns": 3,
        "result": "All done.", "terminal_reason": "completed", "session_id": "s-1", "total_cost_usd": 0.0024,
    })
}

fn api_error(status: Value, text: &str) -> Value {
    json!({
        "subtype": "success", "is_error": true, "api_error_status": status, "terminal_reason": "api_error",
        "result": text, "num_turns": 1,
    })
}

#[test]
fn a_result_without_error_and_exit_code_0_is_completed_and_summed_up() {
    let end = judged(success(), 0);
    assert_eq!(
        (end.status, end.reason, end.exit_code, end.error),
        (Status::Completed, None, 0, None)
    );
    assert_eq!(end.summary.result.as_deref(), Some("All done."));
    assert_eq!(end.summary.turns, Some(3));
    assert_eq!(end.summary.cost_usd, Some(0.0024));
    assert_eq!(end.summary.session_id.as_deref(), Some("s-1"));
    assert_eq!(
        end.summary.terminal_reason.as_deref(),
        Some("success/completed")
    );
}

#[test]
fn errors_of_the_api_are_failures_although_their_subtype_is_success() {
    for (status, text) in [
        (json!(401), "Invalid API key · Fix external API key"),
        (json!(401), "Not logged in · Please run /login"),
        (json!(403), "API Error: 403"),
        (json!(400), "API Error: 400"),
        (json!(404), "There's an issue with the selected model"),
        (json!(429), "API Error: 429"),
        (json!(529), "API Error: 529"),
        (json!(500), "API Error: 500"),
        (
            Value::Null,
            "API Error: Connection refused … (ECONNREFUSED)",
        ),
        (Value::Null, "Not logged in · Please run /login"),
    ] {
        let end = judged(api_error(status, text), 1);
        assert_eq!(
            (end.status, end.reason, end.exit_code),
            (Status::Failed, Some(Reason::ApiError), 1),
            "{text}"
        );
        assert_eq!(end.error.as_deref(), Some(text));
    }
}

#[test]
fn limits_of_turns_and_budget_have_their_own_reasons() {
    let turns = json!({
        "subtype": "error_max_turns", "is_error": true, "terminal_reason": "max_turns", "num_turns": 3,
        "errors": ["Reached maximum number of turns (2)"],
    });
    let end = judged(turns, 1);
    assert_eq!((end.reason, end.exit_code), (Some(Reason::MaxTurns), 1));
    assert_eq!(
        end.error.as_deref(),
        Some("Reached maximum number of turns (2)")
    );
    assert_eq!(end.summary.turns, Some(3));
    let budget = json!({"subtype": "error_max_budget_usd", "is_error": true, "terminal_reason": "budget_exhausted"});
    assert_eq!(judged(budget, 1).reason, Some(Reason::Budget));
}

#[test]
fn an_interrupted_turn_is_an_error_although_the_exit_code_is_0() {
    let interrupted = json!({
        "subtype": "error_during_execution", "is_error": true, "terminal_reason": "aborted_streaming",
    });
    let end = judged(interrupted, 0);
    assert_eq!(
        (end.status, end.reason, end.exit_code),
        (Status::Failed, Some(Reason::AgentError), 1)
    );
}

#[test]
fn an_unknown_session_and_a_failed_schema_are_errors_of_the_agent() {
    let session = json!({
        "subtype": "error_during_execution", "is_error": true,
        "errors": ["No conversation found with session ID: x"],
    });
    let end = judged(session, 1);
    assert_eq!(end.reason, Some(Reason::AgentError));
    assert_eq!(
        end.error.as_deref(),
        Some("No conversation found with session ID: x")
    );
    let schema = json!({"subtype": "error_max_structured_output_retries", "is_error": true});
    assert_eq!(judged(schema, 1).reason, Some(Reason::AgentError));
}

#[test]
fn an_end_without_result_is_an_error_whatever_the_exit_code() {
    for (code, expected) in [(0, 1), (1, 1), (2, 2)] {
        let end = without_result(Ended::Code(code), "Error: bad flag\n");
        assert_eq!(
            (end.status, end.reason),
            (Status::Failed, Some(Reason::AgentError))
        );
        assert_eq!(end.exit_code, expected);
        assert!(end.error.unwrap().ends_with(": Error: bad flag"));
    }
}

#[test]
fn a_signal_is_a_kill_even_after_a_success() {
    let end = without_result(Ended::Signal(9), "");
    assert_eq!(
        (end.status, end.reason, end.exit_code),
        (Status::Failed, Some(Reason::Killed), 137)
    );
    let term = without_result(Ended::Code(143), "");
    assert_eq!((term.reason, term.exit_code), (Some(Reason::Killed), 143));
    let after_success = judge(&Evidence {
        result: Some(TurnResult {
            subtype: "success".into(),
            is_error: Some(false),
            ..TurnResult::default()
        }),
        ended: Some(Ended::Signal(9)),
        ..Evidence::default()
    });
    assert_eq!(
        (after_success.status, after_success.exit_code),
        (Status::Failed, 137)
    );
}

#[test]
fn a_success_with_a_failing_exit_code_is_a_failure() {
    let end = judged(success(), 3);
    assert_eq!(
        (end.status, end.reason, end.exit_code),
        (Status::Failed, Some(Reason::AgentError), 3)
    );
}

#[test]
fn a_result_that_does_not_say_whether_it_is_an_error_is_one() {
    assert_eq!(
        judged(json!({"subtype": "success"}), 0).status,
        Status::Failed
    );
    assert_eq!(
        judged(json!({"subtype": "something_new", "is_error": false}), 0).status,
        Status::Failed
    );
    assert_eq!(judged(json!({"subtype": 7}), 0).status, Status::Failed);
}

#[test]
fn what_we_stopped_ends_by_the_reason_why_whatever_else_was_seen() {
    let limit = Duration::from_secs(7);
    for (stop, status, reason, code) in [
        (Stop::Cancelled, Status::Cancelled, None, 130),
        (
            Stop::Total(limit),
            Status::Failed,
            Some(Reason::TimedOut),
            124,
        ),
        (
            Stop::NoFirstEvent(limit),
            Status::Failed,
            Some(Reason::Stalled),
            1,
        ),
        (Stop::Idle(limit), Status::Failed, Some(Reason::Stalled), 1),
        (
            Stop::NoExit(limit),
            Status::Failed,
            Some(Reason::Stalled),
            1,
        ),
        (
            Stop::NoGate("x".into()),
            Status::Failed,
            Some(Reason::Policy),
            1,
        ),
        (
            Stop::Confused("x"),
            Status::Failed,
            Some(Reason::AgentError),
            1,
        ),
    ] {
        for ended in [Ended::Code(0), Ended::Signal(9)] {
            let result = TurnResult {
                subtype: "success".into(),
                is_error: Some(false),
                ..TurnResult::default()
            };
            let stop = Some(stop.clone());
            let evidence = Evidence {
                stop,
                result: Some(result),
                ended: Some(ended),
                ..Evidence::default()
            };
            let end = judge(&evidence);
            assert_eq!(
                (end.status, end.reason, end.exit_code),
                (status, reason, code),
                "{:?}",
                evidence.stop
            );
            assert!(end.error.is_some());
        }
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let mut long = success();
    long["result"] = "€".repeat(MOST_RESULT).into();
    let text = judged(long, 0).summary.result.unwrap();
    assert!(text.len() <= MOST_RESULT + "…".len() && text.ends_with("€…"));
    let end = without_result(Ended::Code(1), &"ü".repeat(5000));
    assert!(end.error.unwrap().len() <= MOST_ERROR + "…".len());
}

#[test]
fn a_secret_across_a_cut_leaves_nothing_of_itself() {
    const CANARY: &str = "canary-0123456789";
    let redactor = Redactor::new(&[CANARY.to_owned().into()]);
    for (most, of_an_error) in [(MOST_ERROR, true), (MOST_RESULT, false)] {
        for before in most - CANARY.len()..=most {
            let text = format!("{}{CANARY}{}", ".".repeat(before), "-".repeat(100));
            let line = json!({"subtype": "success", "is_error": of_an_error, "result": text});
            let end = super::judge(
                &Evidence {
                    result: serde_json::from_value(line).unwrap(),
                    ended: Some(Ended::Code(0)),
                    ..Evidence::default()
                },
                None,
                &redactor,
            );
            let told = [end.error, end.summary.result].into_iter().flatten();
            for told in told {
                assert!(!told.contains("canary"), "{before}");
            }
        }
    }
}
