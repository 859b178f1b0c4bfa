//! Plugins are swapped while tasks run: nobody who was admitted notices, nothing broken takes effect,
//! and every change can be gone back to.

use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatehouse_tests::component::Validator;
use gatehouse_tests::manifest::{Manifest, guest, shipped};
use gatehouse_tests::{Event, Gateway, Receiver, binary, eventually, repository};
use serde_json::{Value, json};

fn misbehaving_cli() -> String {
    let program = binary().with_file_name("misbehaving-cli");
    program.display().to_string()
}

/// A set that denies every call, and one that has nothing against any.
fn denying() -> Manifest {
    Manifest::empty().guest("denies-all", "tool-permission")
}

fn ruled(settings: &str) -> Manifest {
    let settings = format!("settings = {{ {settings} }}");
    let source = shipped("tool-rules");
    Manifest::empty().plugin("tool-rules", "tool-permission", source, &settings)
}

fn manifest_of(gateway: &Gateway) -> std::path::PathBuf {
    gateway.data().with_file_name("plugins.toml")
}

fn write(gateway: &Gateway, manifest: &Manifest) {
    std::fs::write(manifest_of(gateway), manifest.text()).unwrap();
}

async fn revision(gateway: &Gateway) -> String {
    let status = gateway.get("/plugins").await;
    status["revision"].as_str().unwrap().to_owned()
}

/// Waits until another revision than `before` is active.
async fn other_than(gateway: &Gateway, before: &str) -> String {
    eventually("another revision is active", || async {
        Some(revision(gateway).await).filter(|now| now != before)
    })
    .await
}

/// `gatehouse plugin …` against the gateway, with the key that it made.
async fn plugin(gateway: &Gateway, arguments: &[&str]) -> Output {
    plugin_with(gateway, arguments, &gateway.data()).await
}

async fn plugin_with(gateway: &Gateway, arguments: &[&str], data: &Path) -> Output {
    tokio::process::Command::new(binary())
        .arg("plugin")
        .args(arguments)
        .args(["--url", &gateway.url])
        .current_dir(repository())
        .env_clear()
        .env("GATEHOUSE_DATA_DIR", data)
        .output()
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn bypassing(gateway: &Gateway) -> Value {
    gateway.request_with("run it", json!({"permissionMode": "bypassPermissions"}))
}

/// Whether the command of `one-bash-call` ran.
fn ran(events: &[Event]) -> bool {
    let result = "That was it: as the agent asked";
    events.iter().any(|event| event.data.contains(result))
}

/// The verdicts of a task, each with the revision that gave it.
async fn verdicts(gateway: &Gateway, id: &str) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let decisions = gateway.decisions(id).await;
    decisions
        .iter()
        .map(|decision| (word(&decision["verdict"]), word(&decision["revision"])))
        .collect()
}

#[tokio::test]
async fn a_new_manifest_takes_effect_for_new_tasks_and_a_running_one_keeps_its_own() {
    let gateway = Gateway::with()
        .scenario("slow")
        .plugins(&ruled(""))
        .start()
        .await;
    let before = revision(&gateway).await;
    let request = gateway.request_with("run it", json!({"allowedTools": ["Bash"], "maxTurns": 20}));
    let mut running = gateway.run(&request).await;
    let first = running.task_id.clone();
    running
        .until(|event| event.data.contains("Slow step 1."))
        .await;

    write(&gateway, &denying());
    let after = other_than(&gateway, &before).await;
    let (report, _) = gateway.ends(&bypassing(&gateway)).await;
    running.rest().await;

    let old = verdicts(&gateway, &first).await;
    assert_eq!(old.len(), 14);
    assert!(
        old.iter()
            .all(|verdict| *verdict == ("allow".to_owned(), before.clone())),
        "{old:?}"
    );
    let new = verdicts(&gateway, report["taskId"].as_str().unwrap()).await;
    assert!(
        new.iter()
            .all(|verdict| *verdict == ("deny".to_owned(), after.clone())),
        "{new:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_used_leaves_what_was_active_and_says_why() {
    let gateway = Gateway::with().plugins(&ruled("")).start().await;
    let before = revision(&gateway).await;
    let broken = [
        ("denny = []", "denny"),
        ("deny = ['Bash(x']", "bracket"),
        ("", "expected"),
    ];
    for (settings, word) in broken {
        match settings {
            "" => std::fs::write(manifest_of(&gateway), "[[plugin]").unwrap(),
            settings => write(&gateway, &ruled(settings)),
        }
        let error = eventually("the mistake is shown", || async {
            let status = gateway.get("/plugins").await;
            let error = status["error"].as_str().map(str::to_owned);
            error.filter(|error| error.contains(word))
        })
        .await;
        let status = gateway.get("/plugins").await;
        assert_eq!(status["revision"], before.as_str(), "{error}");
        assert_eq!(status["plugins"][0]["state"], "active");
        let (report, _) = gateway.ends(&gateway.request("hello")).await;
        assert_eq!(report["status"], "completed");
    }
    // At its plugin, too, where it is one plugin's.
    write(&gateway, &ruled("denny = []"));
    eventually("it stands at the plugin", || async {
        let status = gateway.get("/plugins").await;
        (status["plugins"][0]["code"] == "plugin-settings-invalid").then_some(())
    })
    .await;

    write(&gateway, &ruled("deny = ['Bash']"));
    other_than(&gateway, &before).await;
    let status = gateway.get("/plugins").await;
    assert_eq!(
        (&status["error"], &status["plugins"][0]["error"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_component_that_is_replaced_is_loaded_and_half_a_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("policy.wasm");
    std::fs::copy(shipped("tool-rules"), &source).unwrap();
    let manifest = Manifest::empty().plugin("policy", "tool-permission", source.clone(), "");
    let gateway = Gateway::with().plugins(&manifest).start().await;
    let before = revision(&gateway).await;

    let whole = std::fs::read(guest("denies-all")).unwrap();
    std::fs::write(&source, &whole[..whole.len() / 2]).unwrap();
    eventually("half a component is refused", || async {
        let status = gateway.get("/plugins").await;
        (status["plugins"][0]["code"] == "plugin-compile-failed").then_some(())
    })
    .await;
    assert_eq!(revision(&gateway).await, before);

    std::fs::write(&source, &whole).unwrap();
    other_than(&gateway, &before).await;
    let (report, _) = gateway.ends(&gateway.request("hello")).await;
    assert_eq!(report["status"], "completed");
}

#[tokio::test]
async fn an_operator_goes_back_stays_there_over_a_restart_and_reloads() {
    let mut gateway = Gateway::with()
        .scenario("one-bash-call")
        .plugins(&ruled(""))
        .start()
        .await;
    let good = revision(&gateway).await;
    write(&gateway, &denying());
    let bad = other_than(&gateway, &good).await;

    let told = said(&plugin(&gateway, &["rollback"]).await);
    assert!(told.contains(&good) && told.contains(&bad), "{told}");
    gateway.stop().await;
    gateway.start_again().await;
    assert_eq!(
        revision(&gateway).await,
        good,
        "the manifest has nothing new to say"
    );
    let (_, events) = gateway.ends(&bypassing(&gateway)).await;
    assert!(ran(&events));

    said(&plugin(&gateway, &["reload"]).await);
    assert_eq!(revision(&gateway).await, bad);
    said(&plugin(&gateway, &["rollback", &good]).await);
    assert_eq!(revision(&gateway).await, good);

    let history = gateway.get("/plugins/history").await;
    let line = |change: &Value| {
        let word = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
        (word("how"), word("by"), word("from"), word("revision"))
    };
    let lines: Vec<_> = history["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(line)
        .collect();
    let line = |how: &str, by: &str, from: &str, revision: &str| {
        (
            how.to_owned(),
            by.to_owned(),
            from.to_owned(),
            revision.to_owned(),
        )
    };
    assert_eq!(
        lines,
        [
            line("rollback", "operator", &bad, &good),
            line("manifest", "operator", &good, &bad),
            line("rollback", "operator", &bad, &good),
            line("manifest", "watch", &good, &bad),
            line("manifest", "start", "", &good),
        ]
    );
    assert_eq!(
        history["changes"][0]["digests"]["tool-rules"]
            .as_str()
            .unwrap()
            .len(),
        64
    );
}

#[tokio::test]
async fn a_plugin_is_watched_for_a_while_turned_off_and_on_again() {
    let gateway = Gateway::with()
        .scenario("one-bash-call")
        .plugins(&denying())
        .start()
        .await;
    for (verb, enforced, runs) in [
        (&["mode", "denies-all", "monitor"][..], Some(false), true),
        (&["disable", "denies-all"], None, true),
        (&["enable", "denies-all"], Some(true), false),
    ] {
        said(&plugin(&gateway, verb).await);
        let (report, events) = gateway.ends(&bypassing(&gateway)).await;
        let decisions = gateway.decisions(report["taskId"].as_str().unwrap()).await;
        let counted = decisions
            .first()
            .map(|decision| decision["enforced"] == true);
        assert_eq!(counted, enforced, "{verb:?}");
        assert_eq!(ran(&events), runs, "{verb:?}");
    }
    let list = said(&plugin(&gateway, &["list"]).await);
    assert!(
        list.contains("denies-all") && list.contains("enforce"),
        "{list}"
    );
    let missing = plugin(&gateway, &["disable", "nothing"]).await;
    let words = String::from_utf8(missing.stderr).unwrap();
    assert!(
        words.contains("denies-all"),
        "it names what there is: {words}"
    );
}

#[tokio::test]
async fn only_operators_change_anything_and_of_two_at_once_one_wins() {
    let gateway = Gateway::with().plugins(&ruled("")).start().await;
    let seen = revision(&gateway).await;
    for (path, body) in [
        ("/plugins/reload", json!({})),
        ("/plugins/rollback", json!({})),
    ] {
        let response = gateway.post(path, &body).await;
        assert_eq!(response.status(), 403, "{path}");
        assert_eq!(
            response.json::<Value>().await.unwrap()["code"],
            "operators-only"
        );
    }
    let nobody = tempfile::tempdir().unwrap();
    let refused = plugin_with(&gateway, &["disable", "tool-rules"], nobody.path()).await;
    assert!(!refused.status.success());
    assert_eq!(revision(&gateway).await, seen);

    let changed = async |mode: &str| {
        let arguments = ["mode", "tool-rules", mode, "--if-active", &seen];
        plugin(&gateway, &arguments).await
    };
    let (one, other) = tokio::join!(changed("off"), changed("monitor"));
    let won = [&one, &other]
        .iter()
        .filter(|output| output.status.success())
        .count();
    assert_eq!(won, 1, "{one:?} {other:?}");
    let late = reqwest::Client::new()
        .post(format!("{}/plugins/rollback", gateway.url))
        .bearer_auth(gateway.admin_key())
        .header("if-match", format!("\"{seen}\""))
        .send()
        .await
        .unwrap();
    assert_eq!(late.status(), 409);
    let body: Value = late.json().await.unwrap();
    assert_eq!(
        (&body["code"], &body["revision"]),
        (&json!("plugins-changed"), &json!(revision(&gateway).await))
    );
}

#[tokio::test]
async fn a_signal_has_the_manifest_read_again() {
    let gateway = Gateway::with().plugins(&ruled("")).start().await;
    let first = revision(&gateway).await;
    said(&plugin(&gateway, &["disable", "tool-rules"]).await);
    let disabled = other_than(&gateway, &first).await;
    gateway.hang_up();
    assert_eq!(other_than(&gateway, &disabled).await, first);
}

#[tokio::test]
async fn a_gateway_that_starts_with_a_broken_manifest_keeps_the_last_good_set() {
    let mut gateway = Gateway::with().plugins(&ruled("")).start().await;
    let good = revision(&gateway).await;
    gateway.kill().await;
    write(&gateway, &ruled("denny = []"));
    gateway.start_again().await;
    let status = gateway.get("/plugins").await;
    assert_eq!(status["revision"], good.as_str());
    assert!(
        status["error"].as_str().unwrap().contains("denny"),
        "{status}"
    );
    let (report, _) = gateway.ends(&gateway.request("hello")).await;
    assert_eq!(report["status"], "completed");
}

#[tokio::test]
async fn a_gateway_that_is_killed_in_the_middle_of_changes_has_a_whole_set_and_history() {
    let mut gateway = Gateway::with().plugins(&ruled("")).start().await;
    for round in 0..5u64 {
        let changing = async {
            for mode in ["monitor", "enforce"].iter().cycle() {
                if !plugin(&gateway, &["mode", "tool-rules", mode])
                    .await
                    .status
                    .success()
                {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(150 + 83 * round), changing).await;
        gateway.kill().await;
        gateway.start_again().await;
        let history = gateway.get("/plugins/history?limit=100").await;
        let changes = history["changes"].as_array().unwrap();
        assert_eq!(changes[0]["revision"], revision(&gateway).await.as_str());
        for pair in changes.windows(2) {
            assert_eq!(pair[0]["from"], pair[1]["revision"], "{history}");
            let number = |change: &Value| change["number"].as_u64().unwrap();
            assert_eq!(number(&pair[0]), number(&pair[1]) + 1, "{history}");
        }
    }
}

#[tokio::test]
async fn what_another_gateway_makes_active_is_taken_over() {
    let gateway = Gateway::with().plugins(&ruled("")).start().await;
    let first = revision(&gateway).await;
    said(&plugin(&gateway, &["mode", "tool-rules", "monitor"]).await);
    let second = other_than(&gateway, &first).await;

    // As another gateway on the same bucket would: the next change, put in place at once.
    let active = "plugins/active.json";
    let mut change: Value = serde_json::from_slice(&gateway.object(active).unwrap()).unwrap();
    change["number"] = json!(change["number"].as_u64().unwrap() + 1);
    (change["from"], change["revision"]) = (json!(second), json!(first));
    gateway.overwrite(active, change.to_string().as_bytes());

    assert_eq!(other_than(&gateway, &second).await, first);
    let status = gateway.get("/plugins").await;
    assert_eq!(status["plugins"][0]["mode"], "enforce");
}

/// Tasks that ask the gate about forty calls each, as fast as they are taken, until `changed` is over.
async fn keep_busy(gateway: &Gateway, changed: &AtomicBool) -> Vec<String> {
    let mut tasks = Vec::new();
    let receiver = Receiver::start([]).await;
    let callback = json!({ "callbackUrl": receiver.url });
    let request = gateway.request_with("ask about calls: 40 of 200 every 5", callback);
    while !changed.load(Ordering::Relaxed) {
        tasks.push(gateway.run_async(&request).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    tasks
}

#[tokio::test]
async fn a_thousand_changes_under_load_lose_nothing_mix_nothing_and_keep_nothing() {
    const ROUNDS: u32 = 250;
    let gateway = Gateway::with()
        .plugins(&ruled(""))
        .env("GATEHOUSE_CLAUDE_BIN", &misbehaving_cli())
        .env("MAX_CONCURRENT_TASKS", "2")
        .env("LOG_LEVEL", "info")
        .start()
        .await;
    let client = reqwest::Client::new();
    let key = gateway.admin_key();
    let say = async |method: reqwest::Method, path: &str, body: Value| {
        let request = client.request(method, format!("{}{path}", gateway.url));
        let response = request.bearer_auth(&key).json(&body).send().await.unwrap();
        response.status().as_u16()
    };
    let mode = async |mode: &str| {
        let body = json!({ "mode": mode });
        say(reqwest::Method::PATCH, "/plugins/tool-rules", body).await
    };
    let post = async |path: &str| say(reqwest::Method::POST, path, json!({})).await;

    let (good, bad) = (ruled(""), ruled("denny = []"));
    let over = AtomicBool::new(false);
    let changing = async {
        let mut early = 0;
        for round in 0..ROUNDS {
            assert_eq!(mode("monitor").await, 200);
            assert_eq!(post("/plugins/rollback").await, 200);
            write(&gateway, &bad);
            assert_eq!(post("/plugins/reload").await, 422);
            write(&gateway, &good);
            assert_eq!(post("/plugins/reload").await, 200);
            if round == ROUNDS / 5 {
                early = gateway.memory();
            }
        }
        over.store(true, Ordering::Relaxed);
        early
    };
    let (early, tasks) = tokio::join!(changing, keep_busy(&gateway, &over));
    let (peak, after) = (gateway.peak_memory(), gateway.memory());
    let [early_mib, peak, after_mib] = [early, peak, after].map(|bytes| bytes >> 20);
    println!(
        "memory in MiB: {early_mib} after a fifth, {peak} at the peak, {after_mib} at the end"
    );
    let grown = after.saturating_sub(early);
    assert!(grown < 32 << 20, "it grew by {grown} bytes");

    assert!(tasks.len() >= 5, "{tasks:?}");
    let mut revisions = std::collections::BTreeSet::new();
    for id in &tasks {
        assert_eq!(gateway.ended(id).await["status"], "completed", "{id}");
        let verdicts = verdicts(&gateway, id).await;
        assert_eq!(verdicts.len(), 40, "{id}");
        let (verdict, revision) = verdicts[0].clone();
        assert_ne!(verdict, "deny", "{id}");
        assert!(
            verdicts.iter().all(|other| *other == verdicts[0]),
            "{id}: {verdicts:?}"
        );
        revisions.insert(revision);
    }
    assert!(
        revisions.len() > 1,
        "tasks were admitted under several sets"
    );
    gateway.is_clean().await;
}

/// A validator of 8 MiB of its own.
fn heavy(folder: &Path, n: usize) -> Manifest {
    let text = format!("{n:04}").repeat(2 << 20);
    let heavy = Validator::new("(i32.const 2048)")
        .memory("160")
        .with(&format!("(data (i32.const 131072) \"{text}\")"));
    let source = heavy.file(folder, &format!("heavy-{n}"));
    Manifest::empty().plugin("heavy", "validator", source, "")
}

#[tokio::test]
async fn what_old_sets_held_is_given_back() {
    const SETS: usize = 36;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with()
        .plugins(&heavy(folder.path(), 0))
        .start()
        .await;
    let before = gateway.memory();
    let mut active = revision(&gateway).await;
    let mut early = 0;
    for n in 1..=SETS {
        write(&gateway, &heavy(folder.path(), n));
        active = other_than(&gateway, &active).await;
        if n == SETS / 3 {
            early = gateway.memory();
        }
    }
    let (peak, after) = (gateway.peak_memory(), gateway.memory());
    let [before, early_mib, peak, after_mib] =
        [before, early, peak, after].map(|bytes| bytes >> 20);
    println!(
        "memory in MiB: {before} before, {early_mib} after a third, {peak} at the peak, {after_mib} at the end"
    );
    // What the allocator keeps for later does not grow with their number; they themselves would be 192 MiB.
    let grown = after.saturating_sub(early);
    assert!(
        grown < 48 << 20,
        "{SETS} sets of 8 MiB each left {grown} bytes"
    );
}
