#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::*;
use crate::agent::outcome::tests::task;
use crate::agent::protocol::read;

/// Answers by the tool's name.
#[derive(Default)]
struct ByName {
    asked: Mutex<Vec<ToolCall>>,
    first_may_go: tokio::sync::Notify,
}

#[async_trait]
impl Gate for ByName {
    async fn decide(&self, call: ToolCall) -> Reply {
        let tool = call.tool.clone();
        self.asked.lock().await.push(call);
        match tool.as_str() {
            "Waits" => {
                self.first_may_go.notified().await;
                GateAnswer::Deny("late".into()).into()
            }
            "Parks" => Reply::Parked(Box::pin(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                GateAnswer::Allow(None)
            })),
            "ParksForEver" => Reply::Parked(Box::pin(std::future::pending())),
            "ParksAndPanics" => Reply::Parked(Box::pin(async { panic!("on purpose") })),
            "Never" => std::future::pending().await,
            "Panics" => panic!("on purpose"),
            "Denied" => GateAnswer::Deny("no".into()).into(),
            "Allowed" => GateAnswer::Allow(None).into(),
            _ => GateAnswer::NoOpinion.into(),
        }
    }
}

fn open<'a>(task: &'a AgentTask, gate: &'a ByName) -> (Talk<'a>, mpsc::Receiver<Vec<u8>>) {
    let (lines, written) = mpsc::channel(MOST_UNWRITTEN);
    let mut pair = (Talk::open(task, "/w".into(), gate, lines), written);
    assert_eq!(sent(&mut pair.1)["request"]["subtype"], "initialize");
    pair
}

fn sent(written: &mut mpsc::Receiver<Vec<u8>>) -> Value {
    serde_json::from_slice(&written.try_recv().expect("a line was written")).unwrap()
}

fn frame(value: Value) -> Frame {
    read(value.to_string().as_bytes())
}

fn asks(id: &str, tool: &str) -> Frame {
    frame(
        json!({"type": "control_request", "request_id": id, "request": {
            "subtype": "hook_callback", "callback_id": "gate",
            "input": {"tool_name": tool, "tool_use_id": id, "tool_input": {}, "cwd": "/w/x"},
        }}),
    )
}

fn result() -> Frame {
    frame(json!({"type": "result", "subtype": "success", "is_error": false}))
}

#[tokio::test]
async fn calls_are_decided_side_by_side_and_numbered_as_they_came() {
    let (task, gate) = (task(), ByName::default());
    let (mut talk, mut written) = open(&task, &gate);
    talk.hear(asks("a", "Waits")).unwrap();
    talk.hear(asks("b", "Allowed")).unwrap();
    talk.decided().await.unwrap();
    let answer = sent(&mut written);
    assert_eq!(answer["response"]["request_id"], "b");
    assert_eq!(
        answer["response"]["response"]["hookSpecificOutput"]["permissionDecision"],
        "allow"
    );
    gate.first_may_go.notify_one();
    talk.decided().await.unwrap();
    assert_eq!(sent(&mut written)["response"]["request_id"], "a");
    assert!(!talk.is_deciding());
    let asked = gate.asked.lock().await;
    assert_eq!(
        asked
            .iter()
            .map(|call| (call.id.as_str(), call.index))
            .collect::<Vec<_>>(),
        [("a", 0), ("b", 1)]
    );
    assert_eq!(asked[0].cwd, PathBuf::from("/w/x"));
    assert_eq!(talk.denied, 1);
}

#[tokio::test]
async fn a_decision_that_comes_too_late_or_fails_is_a_denial() {
    let (mut task, gate) = (task(), ByName::default());
    task.limits.decision_timeout = Duration::from_millis(50);
    let (mut talk, mut written) = open(&task, &gate);
    for tool in ["Never", "Panics", "Denied"] {
        talk.hear(asks(tool, tool)).unwrap();
        talk.decided().await.unwrap();
        let answer = sent(&mut written);
        assert_eq!(answer["response"]["request_id"], tool);
        let output = &answer["response"]["response"]["hookSpecificOutput"];
        assert_eq!(output["permissionDecision"], "deny");
        assert!(
            !output["permissionDecisionReason"]
                .as_str()
                .unwrap()
                .is_empty()
        );
    }
    assert_eq!(talk.denied, 3);
}

#[tokio::test]
async fn while_a_call_is_parked_others_are_decided_and_nobodys_silence_counts() {
    let (task, gate) = (task(), ByName::default());
    let (mut talk, mut written) = open(&task, &gate);
    talk.hear(frame(json!({"type": "assistant"}))).unwrap();
    talk.hear(asks("a", "Parks")).unwrap();
    talk.decided().await.unwrap();
    assert!(written.try_recv().is_err() && talk.is_deciding());
    let whole = talk.started + task.total;
    assert_eq!(talk.due(), (whole, Due::Stop(Stop::Total(task.total))));

    talk.hear(asks("b", "Allowed")).unwrap();
    talk.decided().await.unwrap();
    assert_eq!(sent(&mut written)["response"]["request_id"], "b");
    talk.decided().await.unwrap();
    assert_eq!(sent(&mut written)["response"]["request_id"], "a");
    let idle = task.limits.idle_timeout;
    assert_eq!(
        talk.due(),
        (talk.last_line + idle, Due::Stop(Stop::Idle(idle)))
    );
    assert_eq!(talk.denied, 0);
}

#[tokio::test]
async fn a_parked_call_that_is_never_answered_or_fails_is_denied() {
    let (mut task, gate) = (task(), ByName::default());
    task.approval_timeout = Duration::from_millis(50);
    task.limits.decision_timeout = Duration::from_millis(50);
    let (mut talk, mut written) = open(&task, &gate);
    for tool in ["ParksForEver", "ParksAndPanics"] {
        talk.hear(asks(tool, tool)).unwrap();
        talk.decided().await.unwrap();
        talk.decided().await.unwrap();
        let answer = sent(&mut written);
        assert_eq!(
            answer["response"]["response"]["hookSpecificOutput"]["permissionDecision"],
            "deny"
        );
    }
    assert_eq!(talk.denied, 2);
}

#[tokio::test]
async fn what_cannot_be_read_or_approved_is_denied_and_what_is_unknown_is_an_error() {
    let (task, gate) = (task(), ByName::default());
    let (mut talk, mut written) = open(&task, &gate);
    let request = |request: Value| {
        frame(json!({"type": "control_request", "request_id": "r", "request": request}))
    };
    talk.hear(request(
        json!({"subtype": "hook_callback", "callback_id": "gate", "input": []}),
    ))
    .unwrap();
    let answer = sent(&mut written);
    assert_eq!(
        answer["response"]["response"]["hookSpecificOutput"]["permissionDecision"],
        "deny"
    );
    talk.hear(request(
        json!({"subtype": "can_use_tool", "tool_name": "Write"}),
    ))
    .unwrap();
    assert_eq!(
        sent(&mut written)["response"]["response"]["behavior"],
        "deny"
    );
    talk.hear(request(json!({"subtype": "mcp_message"})))
        .unwrap();
    assert_eq!(sent(&mut written)["response"]["subtype"], "error");
    assert_eq!(talk.denied, 2);
    assert!(gate.asked.lock().await.is_empty());
}

#[tokio::test]
async fn the_task_is_handed_over_only_after_the_hook_was_taken() {
    let (task, gate) = (task(), ByName::default());
    let answer = |response: Value| {
        frame(json!({"type": "control_response", "response": {
            "subtype": "success", "request_id": "initialize", "response": response,
        }}))
    };
    let (mut talk, mut written) = open(&task, &gate);
    assert!(written.try_recv().is_err());
    talk.hear(answer(
        json!({"hooks_applied": true, "hook_on_failure_supported": true}),
    ))
    .unwrap();
    assert_eq!(sent(&mut written)["type"], "user");

    let (mut talk, mut written) = open(&task, &gate);
    assert!(matches!(
        talk.hear(answer(json!({"hooks_applied": false}))),
        Err(Stop::NoGate(_))
    ));
    assert!(written.try_recv().is_err());
}

#[tokio::test]
async fn each_silence_has_its_own_deadline() {
    let (task, gate) = (task(), ByName::default());
    let (mut talk, mut written) = open(&task, &gate);
    let limits = &task.limits;
    let start = talk.started;
    let stop_at = |at: Instant, stop| (at, Due::Stop(stop));
    assert_eq!(
        talk.due(),
        stop_at(
            start + limits.first_event_timeout,
            Stop::NoFirstEvent(limits.first_event_timeout)
        )
    );

    talk.hear(frame(json!({"type": "system", "subtype": "init"})))
        .unwrap();
    let now = talk.last_line;
    assert!(now > start);
    assert_eq!(
        talk.due(),
        stop_at(now + limits.idle_timeout, Stop::Idle(limits.idle_timeout))
    );

    talk.hear(result()).unwrap();
    let now = talk.last_line;
    assert_eq!(
        talk.due(),
        stop_at(
            now + limits.after_result_timeout,
            Stop::NoExit(limits.after_result_timeout)
        )
    );
    assert!(matches!(
        written.try_recv(),
        Err(mpsc::error::TryRecvError::Disconnected)
    ));
}

#[tokio::test]
async fn the_whole_run_has_a_deadline_however_lively_it_is() {
    let (mut task, gate) = (task(), ByName::default());
    task.total = Duration::from_secs(100);
    let (mut talk, _written) = open(&task, &gate);
    talk.hear(frame(json!({"type": "assistant"}))).unwrap();
    assert_eq!(
        talk.due(),
        (
            talk.started + task.total,
            Due::Stop(Stop::Total(task.total))
        )
    );
}

#[tokio::test]
async fn our_own_absence_is_nobodys_silence_but_counts_for_the_whole_run() {
    let (task, gate) = (task(), ByName::default());
    let absence = Duration::from_secs(600);
    let later = |before: (Instant, Due)| (before.0 + absence, before.1);

    let (mut talk, _written) = open(&task, &gate);
    for step in [
        None,
        Some(frame(json!({"type": "assistant"}))),
        Some(result()),
    ] {
        if let Some(step) = step {
            talk.hear(step).unwrap();
        }
        let before = talk.due();
        talk.excuse(Instant::now(), absence);
        assert_eq!(talk.due(), later(before));
    }
    let before = talk.due();
    talk.excuse(Instant::now() - absence, absence - Duration::from_secs(60));
    assert_eq!(talk.due(), before, "what was heard since is no older");
    let (mut talk, _written) = open(&task, &gate);
    talk.interrupt().unwrap();
    let before = talk.due();
    talk.excuse(Instant::now(), absence);
    assert_eq!(talk.due(), later(before));

    let before = talk.started + task.total;
    talk.excuse(Instant::now() + absence, 2 * task.total);
    let whole = Due::Stop(Stop::Total(task.total));
    assert_eq!(talk.due(), (before, whole));
}

#[tokio::test]
async fn tasks_in_the_background_keep_the_input_open_until_their_turn_came() {
    let (task, gate) = (task(), ByName::default());
    let (mut talk, mut written) = open(&task, &gate);
    let background = |tasks: Value| {
        frame(json!({"type": "system", "subtype": "background_tasks_changed", "tasks": tasks}))
    };
    talk.hear(background(json!([{}]))).unwrap();
    talk.hear(result()).unwrap();
    assert!(matches!(
        written.try_recv(),
        Err(mpsc::error::TryRecvError::Empty)
    ));
    assert!(matches!(talk.due().1, Due::Stop(Stop::Idle(_))));
    talk.hear(background(json!([]))).unwrap();
    assert_eq!(
        talk.due(),
        (
            talk.last_line + task.limits.after_result_timeout,
            Due::Close
        )
    );
    talk.hear(result()).unwrap();
    assert!(matches!(
        written.try_recv(),
        Err(mpsc::error::TryRecvError::Disconnected)
    ));
}

#[tokio::test]
async fn an_interrupt_waits_for_the_end_of_the_turn_but_not_long() {
    let (task, gate) = (task(), ByName::default());
    let (mut talk, mut written) = open(&task, &gate);
    talk.interrupt().unwrap();
    assert_eq!(sent(&mut written)["request"]["subtype"], "interrupt");
    assert!(!talk.turn_was_interrupted());
    assert_eq!(
        talk.due(),
        (
            talk.interrupted.unwrap() + INTERRUPT_PATIENCE,
            Due::Stop(Stop::Cancelled)
        )
    );
    talk.hear(result()).unwrap();
    assert!(talk.turn_was_interrupted());
}

#[tokio::test]
async fn a_cli_that_asks_and_does_not_read_is_stopped() {
    let (task, gate) = (task(), ByName::default());
    let (mut talk, _written) = open(&task, &gate);
    let approval = || {
        frame(
            json!({"type": "control_request", "request_id": "r", "request": {
                "subtype": "can_use_tool", "tool_name": "Write",
            }}),
        )
    };
    let stop = (0..=MOST_UNWRITTEN).find_map(|_| talk.hear(approval()).err());
    assert!(matches!(stop, Some(Stop::Confused(_))));
}
