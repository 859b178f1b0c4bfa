//! Questions to persons: put once, answered once, closed with their task.

use serde_json::json;

use super::*;
use crate::bucket::{Durability, When};

fn approval(call: &str, second: u32) -> Approval {
    serde_json::from_value(json!({
        "call": call, "tool": "Bash", "input": {}, "redacted": false, "plugins": ["p"],
        "reason": "r", "state": "pending",
        "requestedAt": format!("2026-01-02T03:04:{second:02}Z"), "expiresAt": "2999-01-02T03:04:05Z",
    }))
    .unwrap()
}

#[test]
fn a_call_s_name_is_no_path() {
    for name in ["", ".", "..", "a/b", "a.json", "a b", "ä", &"x".repeat(129)] {
        assert!(name.parse::<CallId>().is_err(), "{name}");
    }
    assert!("toolu_01AbC-9".parse::<CallId>().is_ok());
}

#[tokio::test]
async fn of_two_answers_the_first_counts_and_the_end_of_the_task_closes_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(bucket(&directory));
    let task = id("t");
    tasks.create(&record("t"), payload()).await.unwrap();
    for (call, second) in [("a", 2), ("b", 1), ("c", 3)] {
        let asked = approval(call, second);
        assert!(tasks.request_approval(&task, &asked).await.unwrap());
        assert!(!tasks.request_approval(&task, &asked).await.unwrap());
    }
    let name = names::approval(&task, &"c".parse().unwrap());
    let damage = Bytes::from_static(b"{");
    let bucket = Arc::clone(tasks.bucket());
    bucket
        .put(&name, damage, When::Always, Durability::Synced)
        .await
        .unwrap();
    let calls = async || -> Vec<(String, ApprovalState)> {
        let all = tasks.approvals(&task).await.unwrap();
        let told = all.into_iter().map(|one| (one.call.into(), one.state));
        told.collect()
    };
    let pending = ApprovalState::Pending;
    assert_eq!(
        calls().await,
        [("a".into(), pending), ("b".into(), pending)]
    );

    let answer = Answered {
        by: "operator".to_owned(),
        at: Timestamp::now(),
        reason: None,
        input: None,
    };
    let decide = async |call: &str, state| {
        let call = call.parse().unwrap();
        let decided = tasks.decide_approval(&task, &call, state, &answer);
        decided.await.unwrap()
    };
    let first = decide("a", ApprovalState::Denied).await;
    assert!(matches!(&first, Decided::Now(it) if it.state == ApprovalState::Denied));
    let second = decide("a", ApprovalState::Allowed).await;
    assert!(matches!(&second, Decided::Before(it) if it.state == ApprovalState::Denied));
    assert_eq!(decide("x", ApprovalState::Allowed).await, Decided::Unknown);

    tasks.finish(&task, completed(Some(0))).await.unwrap();

    let (denied, expired) = (ApprovalState::Denied, ApprovalState::Expired);
    assert_eq!(calls().await, [("a".into(), denied), ("b".into(), expired)]);
    let late = decide("b", ApprovalState::Allowed).await;
    assert!(matches!(&late, Decided::Before(it) if it.state == expired));
    assert!(tasks.unfinished().await.unwrap().records.is_empty());
}
