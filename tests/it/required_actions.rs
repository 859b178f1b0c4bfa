//! Actions that a task fails with: what is due behind them, and what the task is told to be.

use gatehouse_tests::Gateway;
use gatehouse_tests::manifest::{Manifest, guest, shipped};
use serde_json::{Value, json};

const PASSING: &str = "<testsuite><testcase name=\"a\"/></testsuite>";
const FAILING: &str = "<testsuite><testcase name=\"a\"><failure/></testcase></testsuite>";

/// The gate, required or not, and behind it an action for each end.
fn gated(required: bool) -> Manifest {
    let gate = format!(
        "grants = [\"workspace\"]\nalways = true\nwhen = \"success\"\nrequired = {required}\n\
         settings = {{ checks = [{{ junit = \"reports/*.xml\" }}] }}"
    );
    let manifest = Manifest::empty().plugin(
        "quality-gate",
        "post-execution",
        shipped("quality-gate"),
        &gate,
    );
    ["by-default", "after-failure", "in-any-case"]
        .into_iter()
        .fold(manifest, |manifest, name| {
            manifest.plugin(name, "post-execution", guest("reports-outcome"), "")
        })
}

/// The report of a task that leaves these results.
async fn leaves(gateway: &Gateway, results: &str) -> Value {
    let more = json!({
        "preExecutionCommands": [format!("mkdir -p reports && printf '%s' '{results}' > reports/unit.xml")],
        "postExecutionActions": {
            "byDefault": {}, "after-failure": {"when": "failure"}, "inAnyCase": {"when": "always"},
        },
    });
    let request = gateway.request_with("hello", more);
    let events = gateway.run(&request).await.rest().await;
    events.last().expect("an end").json()
}

fn statuses(report: &Value) -> [&str; 4] {
    ["qualityGate", "byDefault", "after-failure", "inAnyCase"]
        .map(|key| report["actions"][key]["status"].as_str().unwrap())
}

#[tokio::test]
async fn a_task_whose_tests_fail_fails_with_the_gate_and_what_follows_sees_a_failure() {
    let gateway = Gateway::with().plugins(&gated(true)).start().await;

    let report = leaves(&gateway, FAILING).await;

    assert_eq!(
        statuses(&report),
        ["error", "skipped", "ok", "ok"],
        "{report:#}"
    );
    assert_eq!(
        (&report["status"], &report["reason"], &report["exitCode"]),
        (&json!("failed"), &json!("policy"), &json!(1))
    );
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("qualityGate"), "{error}");
    assert!(error.contains("1 failures, at most 0 allowed"), "{error}");
    // The agent's own end is still told, and the next actions were told the task's.
    assert!(report["result"].is_string(), "{report:#}");
    let told = &report["actions"]["after-failure"]["result"];
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("failed"), &json!("policy"))
    );
    gateway.is_clean().await;
}

#[tokio::test]
async fn a_task_whose_tests_pass_completes() {
    let gateway = Gateway::with().plugins(&gated(true)).start().await;

    let report = leaves(&gateway, PASSING).await;

    assert_eq!(
        statuses(&report),
        ["ok", "ok", "skipped", "ok"],
        "{report:#}"
    );
    assert_eq!(report["status"], "completed");
    let found = &report["actions"]["qualityGate"]["result"]["checks"][0]["found"];
    assert_eq!(found["tests"], 1);
    gateway.is_clean().await;
}

#[tokio::test]
async fn without_required_a_gate_that_fails_is_only_told() {
    let gateway = Gateway::with().plugins(&gated(false)).start().await;

    let report = leaves(&gateway, FAILING).await;

    assert_eq!(
        statuses(&report),
        ["error", "ok", "skipped", "ok"],
        "{report:#}"
    );
    assert_eq!(report["status"], "completed");
}
