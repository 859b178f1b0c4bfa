#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;
use crate::plugin::StandingAction;

fn action(plugin: &str, needs_repository: bool, standing: Option<ActionWhen>) -> Action {
    Action {
        plugin: plugin.to_owned(),
        needs_repository,
        commits: needs_repository,
        required: false,
        standing: standing.map(|when| StandingAction {
            when,
            options: json!({"by": "operator"}),
        }),
    }
}

fn request(more: Value) -> Request {
    let mut request = json!({
        "prompt": "p", "permissionMode": "default", "maxTurns": 1, "timeoutMinutes": 1,
    });
    json_patch::merge(&mut request, &more);
    Request::from_admitted(request.as_object().unwrap()).unwrap()
}

fn due(asked: &[Asked], status: Status) -> Vec<&str> {
    let due = asked.iter().filter(|asked| asked.is_due(status));
    due.map(|asked| asked.key.as_str()).collect()
}

#[test]
fn actions_come_in_the_manifests_order_and_each_has_its_own_occasion() {
    let asked = asked(
        vec![
            action("upload-files", false, None),
            action("notify-all", false, Some(ActionWhen::Always)),
            action("git", true, None),
            action("not-asked-for", false, None),
            action("alarm", false, None),
        ],
        &request(json!({
            "gitRepo": "https://h/r.git",
            "postExecutionActions": {
                "git": {"commit": true},
                "alarm": {"when": "failure"},
                "uploadFiles": {"when": "always", "globPatterns": ["a"]},
            },
        })),
    );
    let keys: Vec<&str> = asked.iter().map(|asked| asked.key.as_str()).collect();
    assert_eq!(keys, ["uploadFiles", "notifyAll", "git", "alarm"]);
    assert_eq!(asked[0].options, json!({"globPatterns": ["a"]}));
    assert_eq!(asked[1].options, json!({"by": "operator"}));
    let all_ways = ["uploadFiles", "notifyAll"];
    assert_eq!(
        due(&asked, Status::Completed),
        ["uploadFiles", "notifyAll", "git"]
    );
    assert_eq!(
        due(&asked, Status::Failed),
        ["uploadFiles", "notifyAll", "alarm"]
    );
    assert_eq!(due(&asked, Status::Cancelled), all_ways);
}

#[test]
fn an_operators_action_on_a_repository_is_not_run_where_there_is_none() {
    let actions = || vec![action("git", true, Some(ActionWhen::Always))];
    let without = asked(actions(), &request(json!({})));
    assert_eq!(without[0].impossible, Some("the request has no gitRepo"));
    assert!(due(&without, Status::Completed).is_empty());
    let with = asked(actions(), &request(json!({"gitRepo": "https://h/r.git"})));
    assert_eq!(due(&with, Status::Completed), ["git"]);
}

#[test]
fn what_an_action_left_at_the_remote_is_told_as_callers_know_it() {
    let told = commit_told(&json!({"sha": "abc", "files": 2, "pushed": true, "branch": "b"}));
    let expected = json!({"sha": "abc", "pushed": true, "branch": "b"});
    assert_eq!(told.map(Value::Object), Some(expected));
    let nothing = json!({"pushed": false, "note": "nothing to commit"});
    assert_eq!(commit_told(&nothing), None);
}

#[test]
fn a_required_action_that_fails_fails_only_a_task_that_completed() {
    let mut completed = Ending::failed(Reason::Internal, "");
    (completed.status, completed.reason, completed.exit_code) = (Status::Completed, None, 0);
    completed.agent.turns = Some(3);
    fail(&mut completed, "qualityGate", "2 failures");
    assert_eq!(
        (completed.status, completed.reason, completed.exit_code),
        (Status::Failed, Some(Reason::Policy), 1)
    );
    assert!(completed.error.as_ref().unwrap().ends_with("2 failures"));
    assert_eq!(completed.agent.turns, Some(3));
    for mut other in [
        Ending::cancelled(),
        Ending::failed(Reason::TimedOut, "late"),
    ] {
        let before = other.clone();
        fail(&mut other, "qualityGate", "2 failures");
        assert_eq!(other, before);
    }
}

#[test]
fn a_cancelled_end_keeps_what_the_agent_told() {
    let mut ending = Ending::failed(Reason::TimedOut, "late");
    ending.agent.turns = Some(3);
    cancel(&mut ending);
    assert_eq!(
        (ending.status, ending.reason, ending.exit_code),
        (Status::Cancelled, None, 130)
    );
    assert_eq!(ending.agent.turns, Some(3));
}
