//! Plugins from a real OCI registry, from directories and from the bucket: published, loaded, kept while the
//! registry is away, refused where they are not what they should be, installed into a manifest.

mod fronts;

use std::path::{Path, PathBuf};
use std::process::Output;

use gatehouse_tests::manifest::{Manifest, guest};
use gatehouse_tests::registry::{self, Registry};
use gatehouse_tests::{Gateway, eventually};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const COMPONENT: &str = "application/wasm";
const ABOUT: &str = "application/vnd.gatehouse.plugin.manifest.v1+toml";

fn digest(guest_name: &str) -> String {
    hex::encode(Sha256::digest(std::fs::read(guest(guest_name)).unwrap()))
}

fn entry(source: &str, more: &str) -> String {
    format!(
        "[[plugin]]\nname = \"guard\"\nworld = \"tool-permission\"\nsource = \"{source}\"\n{more}\n"
    )
}

fn manifest_of(gateway: &Gateway) -> PathBuf {
    gateway.data().with_file_name("plugins.toml")
}

fn write(gateway: &Gateway, manifest: &str) {
    std::fs::write(manifest_of(gateway), manifest).unwrap();
}

async fn gateway(registry: &Registry) -> Gateway {
    Gateway::with()
        .scenario("one-bash-call")
        .plugins(&Manifest::shipped())
        .registry(registry)
        .env("GATEHOUSE__PLUGINS__MAX_COMPONENT_SIZE", "1MiB")
        .start()
        .await
}

/// The plugin's line, once it is as expected.
async fn line(gateway: &Gateway, expected: impl Fn(&Value) -> bool) -> Value {
    eventually("the plugin is as expected", || async {
        let status = gateway.get("/plugins").await;
        let mut plugins = status["plugins"].as_array()?.iter();
        let line = plugins.find(|plugin| plugin["name"] == "guard")?;
        Some(line.clone()).filter(&expected)
    })
    .await
}

async fn is_active(gateway: &Gateway, digest: &str) -> Value {
    line(gateway, |plugin| {
        plugin["state"] == "active" && plugin["digest"] == digest
    })
    .await
}

async fn reload(gateway: &Gateway) -> reqwest::Response {
    let url = format!("{}/plugins/reload", gateway.url);
    let request = reqwest::Client::new()
        .post(url)
        .bearer_auth(gateway.admin_key());
    request.send().await.unwrap()
}

/// The digest of the plugin that denied the call of `one-bash-call`.
async fn denied_by(gateway: &Gateway) -> String {
    let request = gateway.request_with("run it", json!({"permissionMode": "bypassPermissions"}));
    let (report, _) = gateway.ends(&request).await;
    let decisions = gateway.decisions(report["taskId"].as_str().unwrap()).await;
    let denial = decisions
        .iter()
        .find(|decision| decision["verdict"] == "deny");
    denial.unwrap()["digest"].as_str().unwrap().to_owned()
}

/// `gatehouse plugin …` on this gateway's manifest and data, without asking it.
async fn plugin(gateway: &Gateway, registry: &Registry, arguments: &[&str]) -> Output {
    let environment = [
        ("GATEHOUSE_PLUGINS", manifest_of(gateway)),
        ("GATEHOUSE_DATA_DIR", gateway.data()),
    ];
    registry::plugin(&registry.settings(), &environment, arguments).await
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn about(name: &str, world: &str, more: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"1.2.0\"\nworld = \"{world}\"\ncontract = \"gatehouse:plugin@0.1.0\"\n{more}"
    )
}

/// A directory as `gatehouse plugin push` takes it.
fn directory(at: &Path, component: &str, about: &str) -> PathBuf {
    let directory = at.join(component);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::copy(guest(component), directory.join("plugin.wasm")).unwrap();
    std::fs::write(directory.join("plugin.toml"), about).unwrap();
    directory
}

#[tokio::test]
async fn what_is_published_is_loaded_and_a_tag_that_moved_is_noticed_at_a_reload() {
    let registry = Registry::start().await;
    registry.push(&guest("denies-all"), "acme/guard:1").await;
    let gateway = gateway(&registry).await;
    write(&gateway, &entry(&registry.source("acme/guard:1"), ""));
    is_active(&gateway, &digest("denies-all")).await;
    assert_eq!(denied_by(&gateway).await, digest("denies-all"));

    registry.push(&guest("asks"), "acme/guard:1").await;
    assert_eq!(reload(&gateway).await.status(), 200);
    is_active(&gateway, &digest("asks")).await;
}

#[tokio::test]
async fn a_registry_that_is_away_takes_nothing_away_and_is_asked_again() {
    let mut registry = Registry::start().await;
    registry.push(&guest("denies-all"), "guard:1").await;
    let mut gateway = gateway(&registry).await;
    write(&gateway, &entry(&registry.source("guard:1"), ""));
    is_active(&gateway, &digest("denies-all")).await;

    registry.stop();
    assert_eq!(reload(&gateway).await.status(), 200);
    let away = line(&gateway, |plugin| {
        plugin["code"] == "plugin-source-unreachable"
    })
    .await;
    assert_eq!(
        (&away["state"], &away["digest"]),
        (&json!("active"), &json!(digest("denies-all")))
    );

    // A gateway that starts meanwhile has what it had, whatever else its manifest says.
    gateway.stop().await;
    let again = entry(&registry.source("guard:1"), "on_error = \"allow\"");
    write(&gateway, &again);
    gateway.start_again().await;
    let last = is_active(&gateway, &digest("denies-all")).await;
    assert_eq!(last["onError"], "allow", "{last}");
    assert_eq!(denied_by(&gateway).await, digest("denies-all"));

    // Once the registry is back, it is found without anybody's help.
    assert_eq!(last["code"], "plugin-source-unreachable", "{last}");
    registry.start_again().await;
    line(&gateway, |plugin| plugin["code"].is_null()).await;
    registry.push(&guest("asks"), "guard:1").await;
    assert_eq!(reload(&gateway).await.status(), 200);
    is_active(&gateway, &digest("asks")).await;
}

#[tokio::test]
async fn what_is_pinned_is_fetched_once_and_nothing_else_is_taken_for_it() {
    let mut registry = Registry::start().await;
    registry.push(&guest("denies-all"), "guard:1").await;
    let gateway = gateway(&registry).await;
    let source = registry.source("guard:1");
    let pinned = |digest: &str| entry(&source, &format!("sha256 = \"{digest}\""));
    write(&gateway, &pinned(&digest("denies-all")));
    let before = is_active(&gateway, &digest("denies-all")).await;

    for (manifest, code) in [
        (pinned(&"0".repeat(64)), "plugin-digest-mismatch"),
        (
            entry(&format!("{source}@sha256:{}", "0".repeat(64)), ""),
            "plugin-source-unreachable",
        ),
    ] {
        write(&gateway, &manifest);
        let failed = line(&gateway, |plugin| plugin["code"] == code).await;
        assert_eq!(
            (&failed["state"], &failed["since"]),
            (&json!("active"), &before["since"]),
            "what was there goes on"
        );
    }

    // Neither a moved tag nor a registry that is away matters to what was fetched by its digest.
    registry.push(&guest("asks"), "guard:1").await;
    registry.stop();
    write(&gateway, &pinned(&digest("denies-all")));
    line(&gateway, |plugin| {
        plugin["code"].is_null() && plugin["state"] == "active"
    })
    .await;
    write(
        &gateway,
        &entry(&format!("bucket:{}", digest("denies-all")), ""),
    );
    assert_eq!(reload(&gateway).await.status(), 200);
    write(&gateway, &entry(&format!("bucket:{}", "0".repeat(64)), ""));
    let absent = line(&gateway, |plugin| plugin["code"] == "plugin-not-found").await;
    assert!(
        absent["error"].as_str().unwrap().contains("bucket"),
        "{absent}"
    );
}

#[tokio::test]
async fn an_artifact_that_is_not_laid_out_as_a_plugin_is_refused_with_what_was_found() {
    let registry = Registry::start().await;
    let gateway = gateway(&registry).await;
    let component = std::fs::read(guest("denies-all")).unwrap();
    let ours = about("guard", "tool-permission", "");
    let other = about("guard", "validator", "");
    let greedy = about("guard", "post-execution", "grants = [\"everything\"]\n");
    let large = vec![0; (1 << 20) + 1];
    let core = b"\0asm\x01\0\0\0";
    let image = "application/vnd.oci.image.config.v1+json";
    type Layers<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(&str, &str, Layers<'_>, &str, &str); 8] = [
        (
            "bare:1",
            CONFIG,
            &[(COMPONENT, &component)],
            "plugin-layout",
            "no layer `application/vnd.gatehouse",
        ),
        (
            "foreign:1",
            image,
            &[("application/vnd.oci.image.layer.v1.tar+gzip", b"x")],
            "plugin-layout",
            "image.config",
        ),
        (
            "more:1",
            CONFIG,
            &[
                (COMPONENT, &component),
                (ABOUT, ours.as_bytes()),
                ("text/plain", b"x"),
            ],
            "plugin-layout",
            "`text/plain`",
        ),
        (
            "words:1",
            CONFIG,
            &[(COMPONENT, &component), (ABOUT, b"name = 1")],
            "plugin-layout",
            "plugin.toml",
        ),
        (
            "greedy:1",
            CONFIG,
            &[(COMPONENT, &component), (ABOUT, greedy.as_bytes())],
            "plugin-layout",
            "everything",
        ),
        (
            "other:1",
            CONFIG,
            &[(COMPONENT, &component), (ABOUT, other.as_bytes())],
            "plugin-wrong-world",
            "validator",
        ),
        (
            "core:1",
            CONFIG,
            &[(COMPONENT, core), (ABOUT, ours.as_bytes())],
            "plugin-core-module",
            "component",
        ),
        (
            "large:1",
            CONFIG,
            &[(COMPONENT, &large), (ABOUT, ours.as_bytes())],
            "plugin-too-large",
            "1048576",
        ),
    ];
    let mut expected = Vec::new();
    for (name, config, layers, code, words) in cases {
        registry.put(name, config, layers).await;
        expected.push((name, code, words));
    }
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []});
    registry.put_manifest("index/manifests/1", &index).await;
    expected.push(("index:1", "plugin-layout", "index"));
    expected.push(("absent:1", "plugin-source-unreachable", "no such artifact"));

    for (name, code, words) in expected {
        write(&gateway, &entry(&registry.source(name), ""));
        line(&gateway, |plugin| {
            let error = plugin["error"].as_str().unwrap_or_default();
            plugin["code"] == code && error.contains(words)
        })
        .await;
        // The set without it goes on.
        assert!(gateway.get("/plugins").await["revision"].is_string());
    }
}

#[tokio::test]
async fn a_registry_that_wants_a_password_gets_it_and_nobody_else_does() {
    let registry = Registry::start_with_password().await;
    registry.push(&guest("denies-all"), "guard:1").await;
    let gateway = gateway(&registry).await;
    write(&gateway, &entry(&registry.source("guard:1"), ""));
    is_active(&gateway, &digest("denies-all")).await;
    assert_eq!(denied_by(&gateway).await, digest("denies-all"));
    gateway.has_leaked_nothing();

    let source = registry.source("guard:1");
    for (password, words) in [
        (None, "plugins.registries has none for it"),
        (Some("canary-wrong-password"), "is not satisfied"),
    ] {
        let settings = registry::settings(&registry.host, password);
        let output = registry::plugin(&settings, &[], &["pull", &source, "-o", "out"]).await;
        let error = refused(&output);
        assert!(
            error.contains(words) && error.contains("plugin-registry-denied"),
            "{error}"
        );
        assert!(!error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_directory_is_read_by_a_gateway_as_it_is_published_and_pulled() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let told = about("guard", "tool-permission", "description = \"Denies.\"\n");
    let project = directory(folder.path(), "denies-all", &told);
    registry.push(&project, "guard:1").await;
    let out = folder.path().join("out");
    let (source, shown) = (registry.source("guard:1"), out.display().to_string());
    let arguments = ["pull", &source, "-o", &shown];
    let pulled = registry::plugin(&registry.settings(), &[], &arguments).await;
    assert!(said(&pulled).contains("guard 1.2.0"), "{pulled:?}");
    // Nothing is written over, and what is there already is well.
    said(&registry::plugin(&registry.settings(), &[], &arguments).await);

    let gateway = gateway(&registry).await;
    write(&gateway, &entry(&out.display().to_string(), ""));
    is_active(&gateway, &digest("denies-all")).await;
    std::fs::copy(guest("asks"), out.join("plugin.wasm")).unwrap();
    is_active(&gateway, &digest("asks")).await;
    let differs = registry::plugin(&registry.settings(), &[], &arguments).await;
    assert!(refused(&differs).contains("other content"), "{differs:?}");
    std::fs::write(out.join("plugin.toml"), about("guard", "validator", "")).unwrap();
    line(&gateway, |plugin| plugin["code"] == "plugin-wrong-world").await;
}

#[tokio::test]
async fn a_project_can_be_published_as_it_was_begun() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("my-policy").display().to_string();
    let new = [
        "new",
        &project,
        "--world",
        "tool-permission",
        "--lang",
        "rust",
    ];
    said(&registry::plugin(&registry.settings(), &[], &new).await);
    std::fs::copy(
        guest("denies-all"),
        folder.path().join("my-policy/plugin.wasm"),
    )
    .unwrap();
    let source = registry.source("my-policy:0.1.0");
    let push = ["push", &project, &source, "--json"];
    let pushed = said(&registry::plugin(&registry.settings(), &[], &push).await);
    let pushed: Value = serde_json::from_str(&pushed).unwrap();
    assert_eq!(
        (&pushed["name"], &pushed["sha256"]),
        (&json!("my-policy"), &json!(digest("denies-all")))
    );
    // The same plugin is the same artifact.
    let again = said(&registry::plugin(&registry.settings(), &[], &push).await);
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), pushed);
}

#[tokio::test]
async fn what_a_gateway_would_not_take_is_not_published() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let about = |world: &str, more: &str| about("p", world, more);
    let cases = [
        (
            directory(&at("a"), "denies-all", &about("validator", "")),
            "does not exist for validator",
        ),
        (
            directory(&at("b"), "uses-git", &about("post-execution", "")),
            "plugin-not-granted",
        ),
        (
            directory(
                &at("c"),
                "denies-all",
                &about("tool-permission", "limits = { time = \"soon\" }"),
            ),
            "limits.time",
        ),
        (
            directory(
                &at("d"),
                "denies-all",
                &about("tool-permission", "").replace("0.1.0", "0.1.9"),
            ),
            "was built against `gatehouse:plugin@0.1.0`",
        ),
        (
            directory(&at("e"), "describe-traps", &about("post-execution", "")),
            "plugin-trial-failed",
        ),
        (guest("uses-http"), "only its author can say which"),
    ];
    for (what, words) in cases {
        let source = registry.source("p:1");
        let shown = what.display().to_string();
        let arguments = ["push", &shown, &source];
        let output = registry::plugin(&registry.settings(), &[], &arguments).await;
        let error = refused(&output);
        assert!(error.contains(words), "{what:?}: {error}");
        let pulled = ["pull", &source, "-o", "out"];
        let output = registry::plugin(&registry.settings(), &[], &pulled).await;
        assert!(refused(&output).contains("no such artifact"));
    }
}

#[tokio::test]
async fn an_install_pins_what_it_found_and_the_gateway_swaps_by_itself() {
    let registry = Registry::start().await;
    registry.push(&guest("denies-all"), "acme/guard:1").await;
    let gateway = gateway(&registry).await;
    let source = registry.source("acme/guard:1");
    let text = || std::fs::read_to_string(manifest_of(&gateway)).unwrap();
    let before = format!("# By hand.\n{}", text());
    write(&gateway, &before);

    let install = ["install", &source, "--name", "guard", "--mode", "monitor"];
    let output = said(&plugin(&gateway, &registry, &install).await);
    assert!(
        output.contains(&digest("denies-all")) && output.contains("given     nothing"),
        "{output}"
    );
    let installed = is_active(&gateway, &digest("denies-all")).await;
    assert_eq!(installed["mode"], "monitor");
    assert!(text().starts_with(&before), "{}", text());

    // Again is nothing new; another one by that name has to be meant.
    let once = text();
    let output = said(&plugin(&gateway, &registry, &install).await);
    assert!(output.contains("installed already"), "{output}");
    registry.push(&guest("asks"), "acme/guard:1").await;
    let error = refused(&plugin(&gateway, &registry, &install).await);
    assert!(error.contains("--replace"), "{error}");
    assert_eq!(text(), once);
    let replace = ["install", &source, "--name", "guard", "--replace"];
    said(&plugin(&gateway, &registry, &replace).await);
    let replaced = is_active(&gateway, &digest("asks")).await;
    assert_eq!(replaced["mode"], "monitor", "what was not said stays");
    assert_eq!(text().lines().count(), once.lines().count());
}

#[tokio::test]
async fn an_install_gives_nothing_that_was_not_said() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let asks = "grants = [\"git\", \"workspace\"]\nlimits = { time = \"2m\" }\n";
    let told = about("commits", "post-execution", asks);
    let project = directory(folder.path(), "uses-git", &told)
        .display()
        .to_string();
    let gateway = gateway(&registry).await;
    let before = std::fs::read_to_string(manifest_of(&gateway)).unwrap();

    let error = refused(&plugin(&gateway, &registry, &["install", &project]).await);
    assert!(error.contains("plugin-not-granted"), "{error}");
    assert_eq!(
        std::fs::read_to_string(manifest_of(&gateway)).unwrap(),
        before
    );
    let install = ["install", &project, "--grant", "git", "--json"];
    let again = ["install", &project, "--grant", "git"];
    let output = said(&plugin(&gateway, &registry, &install).await);
    let shown = said(&plugin(&gateway, &registry, &again).await);
    assert!(
        shown.contains("not given workspace") && shown.contains("--limit time=2m"),
        "{shown}"
    );
    let told: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(
        (&told["asks"], &told["grants"], &told["changed"]),
        (&json!(["git", "workspace"]), &json!(["git"]), &json!(true))
    );

    // A component of the bucket, by its digest alone; settings that its schema does not know.
    let kept = format!("bucket:{}", digest("uses-git"));
    let copy = [
        "install", &kept, "--name", "copy", "--grant", "git", "--limit", "time=1m",
    ];
    eventually("the gateway has it", || async {
        plugin(&gateway, &registry, &copy)
            .await
            .status
            .success()
            .then_some(())
    })
    .await;
    let text = std::fs::read_to_string(manifest_of(&gateway)).unwrap();
    assert!(
        text.ends_with("grants = [\"git\"]\nlimits = { time = \"1m\" }\n"),
        "{text}"
    );
    let rules = gatehouse_tests::manifest::shipped("tool-rules")
        .display()
        .to_string();
    let wrong = [
        "install",
        &rules,
        "--name",
        "rules",
        "--setting",
        "denny=[]",
    ];
    let error = refused(&plugin(&gateway, &registry, &wrong).await);
    assert!(error.contains("plugin-settings-invalid"), "{error}");
    let url = ["install", "https://plugins.example/p.wasm"];
    assert!(refused(&plugin(&gateway, &registry, &url).await).contains("sha256"));
}
