//! A component keeps running on later gateways, and one that wants another gateway is told so.

use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Gateway, repository};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Built against 0.1.0 when that was released, and never again.
const FIXTURE: &str = "tests/fixtures/components/denies-all-0.1.0.wasm";
const DIGEST: &str = "31cc2b3b140203a8c3462474a0f1401f8d6f249e512c2a0b2cf18ebee47ae8ae";

/// The fixture as if it had been built against another version of the contract.
fn built_against(version: &str) -> Vec<u8> {
    assert_eq!(version.len(), "0.1.0".len(), "names keep their length");
    let component = std::fs::read(repository().join(FIXTURE)).unwrap();
    assert_eq!(
        hex::encode(Sha256::digest(&component)),
        DIGEST,
        "a fixture is not built anew"
    );
    let (from, to) = (b"@0.1.0", format!("@{version}"));
    let mut other = component.clone();
    for at in 0..component.len() - from.len() {
        if component[at..].starts_with(from) {
            other[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    other
}

async fn gateway(version: &str) -> (Gateway, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("denies-all.wasm");
    std::fs::write(&path, built_against(version)).unwrap();
    let manifest = Manifest::empty().plugin("denies-all", "tool-permission", path, "");
    let gateway = Gateway::with()
        .scenario("one-bash-call")
        .plugins(&manifest)
        .start()
        .await;
    (gateway, directory)
}

#[tokio::test]
async fn a_component_that_was_built_when_the_contract_was_released_rules_tool_calls() {
    let (gateway, _files) = gateway("0.1.0").await;
    let request = gateway.request_with("run it", json!({"permissionMode": "bypassPermissions"}));
    let (report, _) = gateway.ends(&request).await;
    let decisions = gateway.decisions(report["taskId"].as_str().unwrap()).await;
    assert_eq!(
        (&decisions[0]["verdict"], &decisions[0]["digest"]),
        (&json!("deny"), &json!(DIGEST))
    );
    assert_eq!(
        gateway.get("/plugins").await["plugins"][0]["contract"],
        "0.1.0"
    );
}

#[tokio::test]
async fn a_newer_patch_runs_where_nothing_new_is_used_and_another_minor_is_told_which_gateway_it_wants()
 {
    let (newer, _files) = gateway("0.1.7").await;
    let plugin = &newer.get("/plugins").await["plugins"][0];
    assert_eq!(
        (&plugin["state"], &plugin["contract"]),
        (&json!("active"), &json!("0.1.7"))
    );
    let (other, _files) = gateway("0.2.0").await;
    let plugin = &other.get("/plugins").await["plugins"][0];
    assert_eq!(plugin["code"], "plugin-other-contract");
    let error = plugin["error"].as_str().unwrap();
    assert!(
        error.contains("0.2.0") && error.contains("offers 0.1.0"),
        "{error}"
    );
}
