//! Which actions run, in which order, after which end, and what is told of them.

use gatehouse_tests::manifest::{Manifest, guest, shipped};
use gatehouse_tests::{Elsewhere, Gateway};
use serde_json::{Value, json};

/// One more action that reports what it was told, by another name.
fn reporter(manifest: Manifest, name: &str, more: &str) -> Manifest {
    manifest.plugin(name, "post-execution", guest("reports-outcome"), more)
}

async fn report(gateway: &Gateway, request: &Value) -> Value {
    let events = gateway.run(request).await.rest().await;
    events.last().expect("an end").json()
}

#[tokio::test]
async fn actions_run_in_the_manifests_order_and_each_sees_what_the_others_returned() {
    let manifest = ["first", "second", "third"]
        .into_iter()
        .fold(Manifest::empty(), |manifest, name| {
            reporter(manifest, name, "")
        });
    let gateway = Gateway::with().plugins(&manifest).start().await;
    let ask = json!(["first", "second", "third", "nobody"]);
    let more = json!({"postExecutionActions": {
        "third": {"ask": ask}, "second": {"fail": true}, "first": {"ask": ask, "when": "success"},
    }});

    let stream = gateway.run(&gateway.request_with("hello", more)).await;
    let id = stream.task_id.clone();
    let events = stream.rest().await;
    let report = events.last().unwrap().json();

    let actions = &report["actions"];
    assert_eq!(
        actions["second"],
        json!({"status": "error", "error": "failed as it was told"})
    );
    let (first, third) = (&actions["first"]["result"], &actions["third"]["result"]);
    assert_eq!(first["resultOf"]["third"], Value::Null);
    // The host's key is not the plugin's.
    assert_eq!(first["options"], json!({"ask": ask}));
    assert_eq!(third["resultOf"]["first"], *first);
    assert_eq!(third["resultOf"]["second"], Value::Null, "it failed");
    assert_eq!(third["status"], "completed");
    let created = third["createdAt"].as_str().unwrap();
    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(created.len(), "2026-11-24T09:30:00Z".len(), "{created}");
    assert!(
        record["createdAt"]
            .as_str()
            .unwrap()
            .starts_with(&created[..16])
    );
    assert_eq!(record["actions"], *actions);
    let order: Vec<String> = events
        .iter()
        .filter(|event| event.name == "message")
        .map(gatehouse_tests::Event::json)
        .filter(|line| line["phase"] == "actions" && line["state"] == "started")
        .map(|line| line["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(order, ["first", "second", "third"]);
}

#[tokio::test]
async fn when_decides_after_which_end_an_action_runs() {
    let manifest = ["by-default", "after-failure", "in-any-case"]
        .into_iter()
        .fold(Manifest::empty(), |manifest, name| {
            reporter(manifest, name, "")
        });
    let actions = json!({"postExecutionActions": {
        "byDefault": {}, "after-failure": {"when": "failure"}, "inAnyCase": {"when": "always"},
    }});
    let statuses = |report: &Value| {
        ["byDefault", "after-failure", "inAnyCase"].map(|key| {
            report["actions"][key]["status"]
                .as_str()
                .unwrap()
                .to_owned()
        })
    };

    let gateway = Gateway::with().plugins(&manifest).start().await;
    let completed = report(&gateway, &gateway.request_with("hello", actions.clone())).await;
    assert_eq!(
        statuses(&completed),
        ["ok", "skipped", "ok"],
        "{completed:#}"
    );

    let gateway = Gateway::with()
        .scenario("api-error")
        .plugins(&manifest)
        .start()
        .await;
    let failed = report(&gateway, &gateway.request_with("hello", actions.clone())).await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(statuses(&failed), ["skipped", "ok", "ok"], "{failed:#}");
    let told = &failed["actions"]["after-failure"]["result"];
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("failed"), &json!("api_error"))
    );
    let why = failed["actions"]["byDefault"]["error"].as_str().unwrap();
    assert_eq!(why, "the task is failed, and when is success");

    // Before the agent could begin, too.
    let mut broken = gateway.request_with("hello", actions.clone());
    broken["preExecutionCommands"] = json!(["exit 3"]);
    let failed = report(&gateway, &broken).await;
    assert_eq!(failed["reason"], "setup");
    assert_eq!(statuses(&failed), ["skipped", "ok", "ok"], "{failed:#}");

    let gateway = Gateway::with()
        .scenario("hang")
        .plugins(&manifest)
        .start()
        .await;
    let mut stream = gateway.run(&gateway.request_with("hang", actions)).await;
    stream.until(|event| event.id.is_some()).await;
    let cancel = format!("/cancel/{}", stream.task_id);
    assert_eq!(gateway.post(&cancel, &json!({})).await.status(), 200);
    let cancelled = stream.until(|event| event.name == "done").await.json();
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(statuses(&cancelled), ["skipped", "skipped", "ok"]);
    gateway.is_clean().await;
}

#[tokio::test]
async fn the_operators_own_actions_run_for_every_task_with_the_operators_options() {
    let manifest = reporter(
        Manifest::empty(),
        "always-there",
        "always = true\noptions = { ask = [\"x\"], n = 1 }",
    );
    let manifest = reporter(manifest, "on-failure", "always = true\nwhen = \"failure\"");
    let manifest = manifest.plugin(
        "uses-git",
        "post-execution",
        guest("uses-git"),
        "grants = [\"git\"]\nalways = true",
    );
    let gateway = Gateway::with().plugins(&manifest).start().await;

    let completed = report(&gateway, &gateway.request("hello")).await;
    let actions = &completed["actions"];
    assert_eq!(
        actions["alwaysThere"]["result"]["options"],
        json!({"ask": ["x"], "n": 1}),
        "{completed:#}"
    );
    assert_eq!(actions["onFailure"]["status"], "skipped");
    assert_eq!(
        actions["usesGit"],
        json!({"status": "skipped", "error": "the request has no gitRepo"})
    );

    let more = json!({"postExecutionActions": {"alwaysThere": {}}});
    let refused = gateway
        .post("/run", &gateway.request_with("hello", more))
        .await;
    assert_eq!(refused.status(), 400);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["field"], "postExecutionActions.alwaysThere");

    // Options that the plugin refuses are found when it is loaded.
    let manifest = reporter(
        Manifest::empty(),
        "always-there",
        "always = true\noptions = { refuse = true }",
    );
    let gateway = Gateway::with().plugins(&manifest).start().await;
    let plugin = &gateway.get("/plugins").await["plugins"][0];
    assert_eq!(plugin["code"], "plugin-options-refused");
    assert_eq!(plugin["error"], "options: refuse: as you wish");
}

#[tokio::test]
async fn an_action_that_there_is_not_or_that_lacks_its_repository_is_refused_before_anything_starts()
 {
    let manifest = reporter(Manifest::empty(), "known-one", "").plugin(
        "uses-git",
        "post-execution",
        guest("uses-git"),
        "grants = [\"git\"]",
    );
    let gateway = Gateway::with().plugins(&manifest).start().await;
    for (actions, code, field, words) in [
        (
            json!({"git": {}}),
            "unknown-field",
            "git",
            "there are: knownOne, usesGit",
        ),
        (
            json!({"usesGit": {}}),
            "required",
            "usesGit",
            "needs gitRepo",
        ),
        (
            json!({"knownOne": {"when": "never"}}),
            "invalid-value",
            "knownOne.when",
            "always",
        ),
        (
            json!({"knownOne": {"refuse": 1}}),
            "invalid-value",
            "knownOne",
            "as you wish",
        ),
    ] {
        let request = gateway.request_with("hello", json!({"postExecutionActions": actions}));
        let answer = gateway.post("/run", &request).await;
        assert_eq!(answer.status(), 400);
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["code"], code, "{answer}");
        assert_eq!(answer["field"], format!("postExecutionActions.{field}"));
        assert!(
            answer["error"].as_str().unwrap().contains(words),
            "{answer}"
        );
    }
    assert!(gateway.model_requests().is_empty());
}

#[tokio::test]
async fn a_task_that_is_cancelled_while_it_acts_ends_its_action_and_begins_no_other() {
    let elsewhere = Elsewhere::start([]).await;
    let url = &elsewhere.url;
    let manifest = Manifest::empty().plugin(
        "uses-http",
        "post-execution",
        guest("uses-http"),
        &format!("grants = [\"http:{url}\"]"),
    );
    let manifest = reporter(manifest, "next", "");
    let manifest = reporter(manifest, "last", "always = true");
    let gateway = Gateway::with()
        .plugins(&manifest)
        // Less than the action takes.
        .env("GATEHOUSE__JOB__CANCEL_GRACE", "100ms")
        .env("GATEHOUSE__JOB__HEARTBEAT", "200ms")
        .start()
        .await;
    let more = json!({"postExecutionActions": {
        "uses-http": {"send": [{"url": format!("{url}/slow"), "timeoutMs": 3000}]}, "next": {},
    }});
    let mut stream = gateway.run(&gateway.request_with("hello", more)).await;
    elsewhere.is_asked("/slow").await;
    let cancel = format!("/cancel/{}", stream.task_id);
    assert_eq!(gateway.post(&cancel, &json!({})).await.status(), 200);

    let report = stream.until(|event| event.name == "done").await.json();

    let actions = &report["actions"];
    assert_eq!(
        (&report["status"], &report["exitCode"]),
        (&json!("cancelled"), &json!(130)),
        "{report:#}"
    );
    assert_eq!(actions["uses-http"]["result"][0]["refused"], "timed-out");
    assert_eq!(actions["next"]["status"], "skipped");
    assert_eq!(actions["last"]["result"]["status"], "cancelled");
    gateway.is_clean().await;
}

#[tokio::test]
async fn a_task_that_runs_out_of_time_still_has_carried_out_what_is_for_failures() {
    let manifest = reporter(Manifest::empty(), "after-failure", "");
    let manifest = reporter(manifest, "by-default", "");
    let gateway = Gateway::with()
        .scenario("hang")
        .plugins(&manifest)
        .start()
        .await;
    let more = json!({"timeoutMinutes": 1, "postExecutionActions": {
        "after-failure": {"when": "failure"}, "by-default": {},
    }});
    let report = report(&gateway, &gateway.request_with("hang", more)).await;
    assert_eq!(
        (&report["reason"], &report["exitCode"]),
        (&json!("timed_out"), &json!(124)),
        "{report:#}"
    );
    let told = &report["actions"]["after-failure"]["result"];
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("failed"), &json!("timed_out"))
    );
    assert_eq!(report["actions"]["by-default"]["status"], "skipped");
    gateway.is_clean().await;
}

#[tokio::test]
async fn all_actions_of_a_task_share_one_number_of_files() {
    let keeps = |manifest: Manifest, name: &str| {
        let grants = r#"grants = ["workspace", "artifacts"]"#;
        manifest.plugin(name, "post-execution", shipped("upload-files"), grants)
    };
    let manifest = keeps(keeps(Manifest::empty(), "keep-first"), "keep-second");
    let gateway = Gateway::with()
        .plugins(&manifest)
        .env("GATEHOUSE__JOB__MAX_ARTIFACTS", "3")
        .start()
        .await;
    let request = gateway.request_with(
        "hello",
        json!({
            "preExecutionCommands": ["touch 1.a 2.a 1.b 2.b 3.b"],
            "postExecutionActions": {
                "keepFirst": {"globPatterns": ["*.a"]}, "keepSecond": {"globPatterns": ["*.b"]},
            },
        }),
    );
    let report = report(&gateway, &request).await;
    let count = |action: &str, list: &str| {
        report["actions"][action]["result"][list]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(
        report["uploadedFiles"].as_array().unwrap().len(),
        3,
        "{report:#}"
    );
    assert_eq!(
        (
            count("keepFirst", "uploaded"),
            count("keepFirst", "skipped")
        ),
        (2, 0)
    );
    assert_eq!(
        (
            count("keepSecond", "uploaded"),
            count("keepSecond", "skipped")
        ),
        (1, 2)
    );
}
