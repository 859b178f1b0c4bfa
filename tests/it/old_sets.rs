//! Sets that nobody can want any more go from the bucket with their components; what somebody needs stays,
//! however old it is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gatehouse_tests::manifest::{Manifest, shipped};
use gatehouse_tests::{Gateway, eventually};
use serde_json::{Value, json};

fn bucket(gateway: &Gateway) -> PathBuf {
    gateway.data().join("bucket/plugins")
}

fn set_of(gateway: &Gateway, revision: &str) -> PathBuf {
    bucket(gateway).join(format!("sets/{revision}.json"))
}

/// The component of a set's only plugin.
fn component_of(gateway: &Gateway, set: &Path) -> PathBuf {
    let set: Value = serde_json::from_slice(&fs::read(set).unwrap()).unwrap();
    let digest = set["plugins"][0]["digest"].as_str().unwrap();
    bucket(gateway).join(format!("components/{digest}.wasm"))
}

/// An object that was written two months ago.
fn plant(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    age(path);
}

fn age(path: &Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(60 * 24 * 3600);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
}

async fn goes(path: &Path) {
    eventually(&format!("{} goes", path.display()), || async {
        (!path.exists()).then_some(())
    })
    .await;
}

/// As if a thousand changes had been made since: no change names what was active before.
fn forget_history(gateway: &Gateway) {
    let active = bucket(gateway).join("active.json");
    let mut change: Value = serde_json::from_slice(&fs::read(&active).unwrap()).unwrap();
    change["from"] = Value::Null;
    let aside = gateway.data().join("active.json");
    fs::write(&aside, change.to_string()).unwrap();
    fs::rename(&aside, &active).unwrap();
    fs::remove_dir_all(bucket(gateway).join("changes")).unwrap();
}

async fn revision(gateway: &Gateway) -> String {
    let status = gateway.get("/plugins").await;
    status["revision"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_old_set_goes_with_its_component_but_not_while_a_task_is_pinned_to_it() {
    let rules =
        Manifest::empty().plugin("tool-rules", "tool-permission", shipped("tool-rules"), "");
    let mut gateway = Gateway::with()
        .scenario("slow")
        .plugins(&rules)
        .env("GATEHOUSE__PLUGINS__KEEP_SETS", "2s")
        .start()
        .await;
    let first = revision(&gateway).await;
    let request = gateway.request_with("run it", json!({"allowedTools": ["Bash"], "maxTurns": 20}));
    let mut running = gateway.run(&request).await;
    let task = running.task_id.clone();
    running
        .until(|event| event.data.contains("Slow step 1."))
        .await;
    let denying = Manifest::empty().guest("denies-all", "tool-permission");
    fs::write(
        gateway.data().with_file_name("plugins.toml"),
        denying.text(),
    )
    .unwrap();
    let second = eventually("the other set is active", || async {
        Some(revision(&gateway).await).filter(|now| *now != first)
    })
    .await;
    forget_history(&gateway);

    let (pinned, active) = (set_of(&gateway, &first), set_of(&gateway, &second));
    let (rules, denies) = (
        component_of(&gateway, &pinned),
        component_of(&gateway, &active),
    );
    let orphan = set_of(&gateway, "0123456789abcdef");
    plant(&orphan, br#"{"plugins":[]}"#);
    let digest = "ab".repeat(32);
    let beside =
        ["wasm", "sig"].map(|what| bucket(&gateway).join(format!("components/{digest}.{what}")));
    beside.iter().for_each(|path| plant(path, b"old"));
    goes(&orphan).await;
    goes(&beside[0]).await;
    goes(&beside[1]).await;
    assert!(pinned.exists() && rules.exists(), "a task needs them");
    running.rest().await;
    let decisions = gateway.decisions(&task).await;
    assert_eq!(decisions.len(), 14);
    assert!(
        decisions
            .iter()
            .all(|decision| decision["revision"] == first.as_str())
    );

    goes(&pinned).await;
    goes(&rules).await;
    assert!(active.exists() && denies.exists());
    gateway.stop().await;
    gateway.start_again().await;
    assert_eq!(revision(&gateway).await, second);
}

#[tokio::test]
async fn what_becomes_active_again_is_no_old_set_any_more() {
    let rules =
        Manifest::empty().plugin("tool-rules", "tool-permission", shipped("tool-rules"), "");
    let gateway = Gateway::with().plugins(&rules).start().await;
    let first = set_of(&gateway, &revision(&gateway).await);
    let component = component_of(&gateway, &first);
    let denying = Manifest::empty().guest("denies-all", "tool-permission");
    let manifest = gateway.data().with_file_name("plugins.toml");
    fs::write(&manifest, denying.text()).unwrap();
    eventually("the other set is active", || async {
        let now = set_of(&gateway, &revision(&gateway).await);
        (now != first).then_some(())
    })
    .await;
    age(&first);
    age(&component);

    fs::write(&manifest, rules.text()).unwrap();
    eventually("the first set is active again", || async {
        let now = set_of(&gateway, &revision(&gateway).await);
        (now == first).then_some(())
    })
    .await;
    for path in [&first, &component] {
        let written = fs::metadata(path).unwrap().modified().unwrap();
        let age = SystemTime::now()
            .duration_since(written)
            .unwrap_or_default();
        assert!(
            age < Duration::from_secs(600),
            "{} is {age:?} old",
            path.display()
        );
    }
}
