//! A set is watched, tried by some and compared before it rules everybody; what was decided can be explained
//! and judged again.

use std::path::PathBuf;

use gatehouse_tests::manifest::{Manifest, shipped};
use gatehouse_tests::{Gateway, eventually};
use serde_json::{Value, json};

/// The shipped rules with these settings; `more` stands at the top of the manifest.
fn ruled(more: &str, settings: &str, entry: &str) -> String {
    let settings = format!("settings = {{ {settings} }}\n{entry}");
    let source = shipped("tool-rules");
    let manifest = Manifest::empty().plugin("tool-rules", "tool-permission", source, &settings);
    format!("{more}\n{}", manifest.text())
}

const DENYING: &str = r#"deny = ["Bash"]"#;

async fn gateway(environment: &[(&str, &str)]) -> Gateway {
    let mut gateway = Gateway::with()
        .scenario("one-bash-call")
        .plugins(&Manifest::empty().plugin(
            "tool-rules",
            "tool-permission",
            shipped("tool-rules"),
            "settings = {  }\n",
        ));
    for (name, value) in environment {
        gateway = gateway.env(name, value);
    }
    gateway.start().await
}

fn manifest_of(gateway: &Gateway) -> PathBuf {
    gateway.data().with_file_name("plugins.toml")
}

fn write(gateway: &Gateway, manifest: &str) {
    std::fs::write(manifest_of(gateway), manifest).unwrap();
}

async fn said(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.plugin(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn request(gateway: &Gateway, more: Value) -> Value {
    let mut request =
        gateway.request_with("run it", json!({"permissionMode": "bypassPermissions"}));
    request
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    request
}

/// The report, and whether the command of `one-bash-call` ran.
async fn runs(gateway: &Gateway, more: Value) -> (String, bool) {
    let (report, events) = gateway.ends(&request(gateway, more)).await;
    let ran = events
        .iter()
        .any(|event| event.data.contains("That was it: as the agent asked"));
    (report["taskId"].as_str().unwrap().to_owned(), ran)
}

async fn pinned(gateway: &Gateway, id: &str) -> String {
    let record = gateway.get(&format!("/tasks/{id}")).await;
    record["pluginSet"].as_str().unwrap().to_owned()
}

/// Waits until a set is tried; the active revision and the tried one.
async fn tried(gateway: &Gateway) -> (String, String) {
    eventually("a set is tried", || async {
        let status = gateway.get("/plugins").await;
        let word = |pointer: &str| status.pointer(pointer)?.as_str().map(str::to_owned);
        Some((word("/revision")?, word("/trial/revision")?))
    })
    .await
}

#[tokio::test]
async fn a_plugin_rules_some_tasks_and_watches_the_others() {
    let gateway = gateway(&[]).await;
    let entry = r#"mode = "monitor"
modes = [{ mode = "off", label = "team=trusted" }, { mode = "enforce", model = "claude-opus*", label = "team=*" }]"#;
    write(&gateway, &ruled("", DENYING, entry));
    said(&gateway, &["reload"]).await;

    for (more, ran, decided) in [
        (json!({}), true, Some(false)),
        (
            json!({"model": "claude-opus-5", "labels": {"team": "new"}}),
            false,
            Some(true),
        ),
        (
            json!({"model": "claude-opus-5", "labels": {"team": "trusted"}}),
            true,
            None,
        ),
    ] {
        let (id, has_run) = runs(&gateway, more.clone()).await;
        assert_eq!(has_run, ran, "{more}");
        let decisions = gateway.decisions(&id).await;
        let enforced = decisions
            .first()
            .map(|decision| decision["enforced"] == true);
        assert_eq!(enforced, decided, "{more}");
    }

    // An operator adds one more at run time, and then says the same for everybody.
    said(
        &gateway,
        &["mode", "tool-rules", "enforce", "--label", "team=new"],
    )
    .await;
    let new = json!({"labels": {"team": "new"}});
    assert!(!runs(&gateway, new.clone()).await.1);
    said(&gateway, &["mode", "tool-rules", "off"]).await;
    assert!(runs(&gateway, new).await.1);
    let status = gateway.get("/plugins").await;
    assert_eq!(status["plugins"][0]["modes"], json!([]));
}

#[tokio::test]
async fn a_share_of_the_tasks_is_pinned_to_the_tried_set_until_it_is_promoted() {
    let mut gateway = gateway(&[]).await;
    write(&gateway, &ruled("trial = { share = 50 }", DENYING, ""));
    let (old, new) = tried(&gateway).await;
    assert_ne!(old, new);

    let mut seen = (0, 0);
    for number in 0..8 {
        // The same ids give the same choice at every run of this test.
        let more =
            json!({"taskId": format!("share-{number}"), "callbackUrl": "http://127.0.0.1:59998/"});
        let id = gateway.run_async(&request(&gateway, more)).await;
        gateway.ended(&id).await;
        let revision = pinned(&gateway, &id).await;
        let decisions = gateway.decisions(&id).await;
        assert_eq!(decisions[0]["revision"], revision);
        assert_eq!(decisions[0]["verdict"] == "deny", revision == new, "{id}");
        let count = if revision == old {
            &mut seen.0
        } else {
            &mut seen.1
        };
        *count += 1;
    }
    assert!(seen.0 > 0 && seen.1 > 0, "{seen:?}");

    let more = said(&gateway, &["try", "--share", "1", "--json"]).await;
    assert!(more.contains("\"share\": 1"), "{more}");
    said(&gateway, &["promote"]).await;
    let status = gateway.get("/plugins").await;
    assert_eq!(
        (&status["revision"], &status["trial"]),
        (&json!(new), &Value::Null)
    );
    assert!(!runs(&gateway, json!({})).await.1);
    // The manifest still says that it is to be tried: that is no news.
    gateway.stop().await;
    gateway.start_again().await;
    assert_eq!(gateway.get("/plugins").await["revision"], new);
    said(&gateway, &["rollback"]).await;
    assert_eq!(gateway.get("/plugins").await["revision"], old);
}

#[tokio::test]
async fn a_set_that_is_asked_beside_the_active_one_changes_nothing_and_the_difference_is_told() {
    let gateway = gateway(&[]).await;
    write(&gateway, &ruled("trial = { shadow = true }", DENYING, ""));
    let (old, new) = tried(&gateway).await;

    let (id, ran) = runs(&gateway, json!({})).await;
    assert!(ran);
    assert_eq!(pinned(&gateway, &id).await, old);
    let decisions = gateway.decisions(&id).await;
    let verdict = |revision: &str| {
        let told = decisions
            .iter()
            .find(|decision| decision["revision"] == revision);
        told.map(|told| (told["verdict"].clone(), told["shadow"] == true))
    };
    assert_eq!(verdict(&old), Some((json!("abstain"), false)));
    assert_eq!(verdict(&new), Some((json!("deny"), true)));

    let told = said(&gateway, &["diff", &old, &new]).await;
    assert!(told.contains("settings"), "{told}");
    assert!(told.contains("1 of 1 questions"), "{told}");
    assert!(told.contains("abstain -> deny by tool-rules"), "{told}");
    // A rollback ends the trial first.
    said(&gateway, &["rollback"]).await;
    let status = gateway.get("/plugins").await;
    assert_eq!(
        (&status["revision"], &status["trial"]),
        (&json!(old), &Value::Null)
    );
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_trial_is_refused_that_tries_nothing_and_by_whom_is_no_operator() {
    let gateway = gateway(&[]).await;
    write(&gateway, &ruled("trial = { share = 100 }", DENYING, ""));
    let told = String::from_utf8(gateway.plugin(&["reload"]).await.stderr).unwrap();
    assert!(told.contains("percentage"), "{told}");
    write(&gateway, &ruled("", "", r#"modes = [{ mode = "off" }]"#));
    let told = String::from_utf8(gateway.plugin(&["reload"]).await.stderr).unwrap();
    assert!(told.contains("say for which tasks"), "{told}");

    for (path, body) in [
        ("/plugins/trial", json!({"share": 10})),
        ("/plugins/promote", json!({})),
    ] {
        assert_eq!(gateway.post(path, &body).await.status(), 403, "{path}");
    }
    for (arguments, words) in [
        (&["try", "--share", "10"][..], "name the revision"),
        (&["try", "0123456789abcdef", "--shadow"], "no plugin set"),
        (&["try"], "say how"),
        (&["promote"], "no set is being tried"),
        (&["diff", "a", "b"], "no plugin set"),
    ] {
        let output = gateway.plugin(arguments).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && told.contains(words),
            "{arguments:?}: {told}"
        );
    }
}

#[tokio::test]
async fn what_was_decided_is_explained_and_judged_again_by_another_set() {
    let gateway = gateway(&[("GATEHOUSE__PLUGINS__KEEP_INPUTS", "true")]).await;
    let secret = "canary-environment-secret-7c1e";
    let (id, ran) = runs(&gateway, json!({"environmentSecrets": {"TOKEN": secret}})).await;
    assert!(ran);

    let stricter = gateway.data().with_file_name("stricter.toml");
    std::fs::write(&stricter, ruled("", DENYING, "")).unwrap();
    let stricter = stricter.to_str().unwrap();
    let replay = ["replay", "--manifest", stricter, "--strict"];
    let output = gateway.plugin(&replay).await;
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("1 of 1 questions of 1 tasks"), "{told}");
    assert!(told.contains("abstain -> deny by tool-rules"), "{told}");
    // The very bytes that ruled then say the same again.
    let revision = pinned(&gateway, &id).await;
    let told = said(
        &gateway,
        &["replay", &id, "--revision", &revision, "--strict"],
    )
    .await;
    assert!(told.contains("0 of 1 questions"), "{told}");

    write(&gateway, &ruled("", DENYING, ""));
    said(&gateway, &["reload"]).await;
    let (denied, _) = runs(&gateway, json!({})).await;
    let told = said(&gateway, &["explain", &denied]).await;
    for words in [
        "deny",
        "tool-rules",
        "rule: deny[0] Bash",
        "sha256",
        "\"command\"",
    ] {
        assert!(told.contains(words), "{words} is not in: {told}");
    }
    let inputs = gateway
        .try_get(&format!("/tasks/{id}/inputs"))
        .await
        .unwrap();
    assert_eq!(inputs.status(), 403, "a caller does not see what is kept");
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn without_consent_nothing_of_what_was_decided_on_is_kept() {
    let gateway = gateway(&[]).await;
    let (id, _) = runs(&gateway, json!({})).await;
    assert_eq!(gateway.objects("inputs/"), Vec::<String>::new());
    let told = said(&gateway, &["replay"]).await;
    assert!(told.contains("1 tasks were left out"), "{told}");
    let told = said(&gateway, &["explain", &id, "toolu"]).await;
    assert!(told.contains("not kept"), "{told}");
}

#[tokio::test]
async fn what_plugins_did_in_jobs_is_counted_with_times_and_memory() {
    let gateway = gateway(&[]).await;
    runs(&gateway, json!({})).await;
    let plugin = eventually("the job's calls are counted", || async {
        let status = gateway.get("/plugins").await;
        let plugin = status["plugins"][0].clone();
        (plugin["calls"] == 1).then_some(plugin)
    })
    .await;
    assert_eq!(
        (&plugin["denials"], &plugin["traps"]),
        (&json!(0), &json!(0))
    );
    assert!(plugin["micros"]["p99"].as_u64().unwrap() > 0, "{plugin:#}");
    assert!(
        plugin["memoryHighWater"].as_u64().unwrap() >= 64 << 10,
        "{plugin:#}"
    );
    assert_eq!(plugin["asks"], json!([]));
}
