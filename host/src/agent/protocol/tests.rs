#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;
use crate::agent::outcome::tests::task;

fn sent(line: &[u8]) -> Value {
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(line.last(), Some(&b'\n'));
    serde_json::from_slice(line).unwrap()
}

#[test]
fn every_decision_has_one_of_the_shapes_that_the_cli_understands() {
    let shapes = [
        (GateAnswer::NoOpinion, json!({})),
        (
            GateAnswer::Allow(None),
            json!({"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "allow"}}),
        ),
        (
            GateAnswer::Allow(Some(json!({"command": "ls"}))),
            json!({"hookSpecificOutput": {
                "hookEventName": "PreToolUse", "permissionDecision": "allow", "updatedInput": {"command": "ls"},
            }}),
        ),
        (
            GateAnswer::Deny("no\n\"ask\"".into()),
            json!({"hookSpecificOutput": {
                "hookEventName": "PreToolUse", "permissionDecision": "deny",
                "permissionDecisionReason": "no\n\"ask\"",
            }}),
        ),
    ];
    for (answer, response) in shapes {
        let expected = json!({
            "type": "control_response",
            "response": {"subtype": "success", "request_id": "r-1", "response": response},
        });
        assert_eq!(sent(&decision("r-1", &answer)), expected);
    }
}

#[test]
fn a_rewrite_that_is_no_object_is_a_denial() {
    for input in [json!(null), json!("ls"), json!(["ls"]), json!(7)] {
        let answer = sent(&decision("r", &GateAnswer::Allow(Some(input))));
        let output = &answer["response"]["response"]["hookSpecificOutput"];
        assert_eq!(output["permissionDecision"], "deny");
        assert!(output["permissionDecisionReason"].is_string());
    }
}

#[test]
fn nobody_approves_and_unknown_questions_are_errors() {
    let answer = sent(&no_approval("r", "Write"));
    assert_eq!(answer["response"]["response"]["behavior"], "deny");
    let message = answer["response"]["response"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Write would need a person's approval; "),
        "{message}"
    );
    assert_eq!(
        sent(&error("r", "mcp_message")),
        json!({"type": "control_response", "response": {
            "subtype": "error", "request_id": "r", "error": "unsupported request: mcp_message",
        }})
    );
}

#[test]
fn the_hook_blocks_on_failure_and_outlasts_our_own_deadline() {
    let mut task = task();
    task.limits.decision_timeout = Duration::from_millis(5500);
    let request = sent(&initialize(&task));
    assert_eq!(
        request["request"],
        json!({"subtype": "initialize", "hooks": {
            "PreToolUse": [{"hookCallbackIds": ["gate"], "timeout": 916, "onFailure": "block"}],
        }})
    );
    task.system_prompt = Some("s".into());
    task.append_system_prompt = Some("a".into());
    task.subagents.insert(
        "reviewer".into(),
        json!({"frontmatter": {"description": "d", "tools": "Read, Grep", "model": "haiku", "hooks": {}}, "content": "p"}),
    );
    task.subagents
        .insert("bare".into(), json!({"content": "q"}));
    let request = sent(&initialize(&task));
    assert_eq!(request["request"]["systemPrompt"], "s");
    assert_eq!(request["request"]["appendSystemPrompt"], "a");
    assert_eq!(
        request["request"]["agents"],
        json!({
            "bare": {"description": "bare", "prompt": "q"},
            "reviewer": {"description": "d", "prompt": "p", "tools": ["Read", "Grep"], "model": "haiku"},
        })
    );
}

#[test]
fn a_cli_that_does_not_take_the_hook_is_not_given_the_task() {
    assert_eq!(
        missing_gate(&json!({"hooks_applied": true, "hook_on_failure_supported": true})),
        None
    );
    for answer in [
        json!({}),
        json!({"hooks_applied": true}),
        json!({"hooks_applied": false, "hook_on_failure_supported": true}),
        json!({"hooks_applied": "true", "hook_on_failure_supported": true}),
        json!(null),
    ] {
        assert!(missing_gate(&answer).is_some(), "{answer}");
    }
}

#[test]
fn the_task_is_sent_so_that_nothing_in_it_is_expanded() {
    let message = sent(&user_message("/x @/etc/passwd\n!`id`"));
    assert_eq!(message["client_composed"], true);
    assert_eq!(
        message["message"],
        json!({"role": "user", "content": "/x @/etc/passwd\n!`id`"})
    );
}

fn asked(request: Value) -> Question {
    let line =
        json!({"request": request, "request_id": "r-9", "type": "control_request"}).to_string();
    match read(line.as_bytes()) {
        Frame::Asked { id, question } => {
            assert_eq!(id, "r-9");
            question
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn questions_are_told_apart() {
    let input = json!({
        "session_id": "s", "cwd": "/w", "hook_event_name": "PreToolUse", "tool_name": "mcp__db__query",
        "tool_input": {"sql": "x"}, "tool_use_id": "toolu_1", "agent_id": "a1", "agent_type": "reviewer",
        "mcp_server": {"name": "db", "source": "flag"},
    });
    let hook = json!({"subtype": "hook_callback", "callback_id": "gate", "input": input, "tool_use_id": "toolu_1"});
    let Question::Call(call) = asked(hook) else {
        panic!("no call")
    };
    assert_eq!(
        (call.id.as_str(), call.tool.as_str()),
        ("toolu_1", "mcp__db__query")
    );
    assert_eq!(call.input, json!({"sql": "x"}));
    assert_eq!(call.subagent.as_deref(), Some("reviewer"));
    assert_eq!(call.mcp_server.unwrap().name, "db");

    let unreadable =
        json!({"subtype": "hook_callback", "callback_id": "gate", "input": {"tool_name": 7}});
    assert_eq!(asked(unreadable), Question::UnreadableCall);
    assert_eq!(
        asked(json!({"subtype": "hook_callback", "callback_id": "gate"})),
        Question::UnreadableCall
    );
    let other = json!({"subtype": "hook_callback", "callback_id": "other", "input": {}});
    assert_eq!(
        asked(other),
        Question::Unknown {
            what: "hook_callback".into()
        }
    );
    let approval = json!({"subtype": "can_use_tool", "tool_name": "Write", "input": {}});
    assert_eq!(
        asked(approval),
        Question::Approval {
            tool: "Write".into()
        }
    );
    assert_eq!(
        asked(json!({"subtype": "mcp_message"})),
        Question::Unknown {
            what: "mcp_message".into()
        }
    );
    assert_eq!(
        asked(json!(null)),
        Question::Unknown {
            what: String::new()
        }
    );
}

#[test]
fn answers_and_events_are_told_apart() {
    let line = json!({"type": "control_response", "response": {
        "subtype": "error", "request_id": "initialize", "error": "bad",
    }});
    let answer = Frame::Answered {
        id: "initialize".into(),
        answer: Err("bad".into()),
    };
    assert_eq!(read(line.to_string().as_bytes()), answer);
    assert_eq!(
        read(br#"{"type":"control_cancel_request","request_id":"x"}"#),
        Frame::Aside
    );
    for line in [
        b"no json".as_slice(),
        b"\xff",
        b"{}",
        br#"{"type":7}"#,
        br#"{"type":"assistant","request_id":7}"#,
        br#"{"type":"system","subtype":"init"}"#,
        br#"["control_request"]"#,
    ] {
        assert_eq!(
            read(line),
            Frame::Event(Event::Other),
            "{}",
            String::from_utf8_lossy(line)
        );
    }
    let background = br#"{"tasks":[{}],"type":"system","subtype":"background_tasks_changed"}"#;
    assert_eq!(read(background), Frame::Event(Event::BackgroundTasks(1)));
}

#[test]
fn a_result_that_cannot_be_read_is_no_success() {
    let Frame::Event(Event::Result(result)) = read(br#"{"type":"result","is_error":"no"}"#) else {
        panic!("no result")
    };
    assert_eq!(result.is_error, None);
}
