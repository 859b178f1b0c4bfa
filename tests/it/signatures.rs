//! Whose word makes a component loadable: signatures by keys that openssl makes here and now, the lock file,
//! and what `gatehouse plugin verify` says of both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use gatehouse_tests::manifest::{Manifest, guest, shipped};
use gatehouse_tests::{Gateway, binary, eventually, repository};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

mod artifacts;

const P256: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const ED25519: &[&str] = &["ed25519"];

/// An operator's folder: a configuration, keys, a component with its signatures.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// With a component that denies every call, and the keys of alice (P-256), bob (Ed25519) and mallory.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let desk = Self { folder };
        for (name, kind) in [("alice", P256), ("bob", ED25519), ("mallory", P256)] {
            let (private, public) = (desk.path(&format!("{name}.pem")), format!("{name}.pub"));
            let private = private.to_str().unwrap();
            let generate = [&["genpkey", "-out", private, "-algorithm"], kind].concat();
            openssl(&generate);
            let public = desk.path(&public);
            openssl(&[
                "pkey",
                "-in",
                private,
                "-pubout",
                "-out",
                public.to_str().unwrap(),
            ]);
        }
        desk.place(&guest("denies-all"));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn component(&self) -> PathBuf {
        self.path("policy.wasm")
    }

    fn place(&self, component: &Path) {
        std::fs::copy(component, self.component()).unwrap();
    }

    /// Whose keys are known, and what is wanted, for the next start.
    fn configure(&self, names: &[&str], wanted: &str) {
        let keys: Vec<_> = names
            .iter()
            .map(|name| format!("{name} = '{name}.pub'"))
            .collect();
        let keys = keys.join(", ");
        let text = format!("[plugins.signatures]\nkeys = {{ {keys} }}\n{wanted}\n");
        std::fs::write(self.path("gatehouse.toml"), text).unwrap();
    }

    /// What openssl prints, in base64.
    fn signature(&self, name: &str, file: &Path) -> String {
        let (key, file) = (self.path(&format!("{name}.pem")), file.to_str().unwrap());
        let key = key.to_str().unwrap();
        let signature = match name {
            "bob" => openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file]),
            _ => openssl(&["dgst", "-sha256", "-sign", key, file]),
        };
        let raw = self.path("signature.bin");
        std::fs::write(&raw, signature).unwrap();
        let line = openssl(&["base64", "-A", "-in", raw.to_str().unwrap()]);
        String::from_utf8(line).unwrap()
    }

    /// Signs the component, beside it.
    fn sign(&self, names: &[&str]) {
        let lines: Vec<_> = names
            .iter()
            .map(|name| self.signature(name, &self.component()))
            .collect();
        std::fs::write(self.path("policy.wasm.sig"), lines.join("\n")).unwrap();
    }

    fn manifest(&self) -> Manifest {
        Manifest::empty().plugin("policy", "tool-permission", self.component(), "")
    }

    async fn gateway(&self, scenario: &str) -> Gateway {
        Gateway::with()
            .scenario(scenario)
            .plugins(&self.manifest())
            .env(
                "GATEHOUSE_CONFIG",
                self.path("gatehouse.toml").to_str().unwrap(),
            )
            .start()
            .await
    }

    /// `gatehouse plugin …` with the configuration of this gateway.
    async fn plugin(&self, gateway: &Gateway, arguments: &[&str]) -> Output {
        tokio::process::Command::new(binary())
            .arg("plugin")
            .args(arguments)
            .current_dir(repository())
            .env_clear()
            .env("GATEHOUSE_CONFIG", self.path("gatehouse.toml"))
            .env("GATEHOUSE_PLUGINS", manifest_of(gateway))
            .env("GATEHOUSE_DATA_DIR", gateway.data())
            .output()
            .await
            .unwrap()
    }

    /// The same where it speaks to the gateway.
    async fn tell(&self, gateway: &Gateway, arguments: &[&str]) -> Output {
        let url = ["--url", &*gateway.url];
        self.plugin(gateway, &[arguments, &url].concat()).await
    }
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

fn manifest_of(gateway: &Gateway) -> PathBuf {
    gateway.data().with_file_name("plugins.toml")
}

fn digest(file: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(file).unwrap()))
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8([&*output.stdout, &*output.stderr].concat()).unwrap()
}

async fn revision(gateway: &Gateway) -> Value {
    gateway.get("/plugins").await["revision"].clone()
}

/// The plugin's line, once it is as expected.
async fn line(gateway: &Gateway, expected: impl Fn(&Value) -> bool) -> Value {
    eventually("the plugin is as expected", || async {
        let status = gateway.get("/plugins").await;
        let line = status["plugins"]
            .as_array()?
            .iter()
            .find(|line| line["name"] == "policy")?;
        Some(line.clone()).filter(&expected)
    })
    .await
}

async fn fails_with(gateway: &Gateway, code: &str, words: &str) -> Value {
    line(gateway, |line| {
        line["code"] == code
            && line["error"]
                .as_str()
                .is_some_and(|error| error.contains(words))
    })
    .await
}

async fn is_active(gateway: &Gateway, signed_by: Value) -> Value {
    line(gateway, |line| {
        line["state"] == "active" && line["error"].is_null() && line["signedBy"] == signed_by
    })
    .await
}

#[tokio::test]
async fn only_what_the_wanted_key_signed_is_loaded_and_the_record_says_who_that_was() {
    let desk = Desk::new();
    desk.configure(&["alice", "bob"], "all_of = ['alice']");
    let gateway = desk.gateway("one-bash-call").await;
    fails_with(&gateway, "plugin-unsigned", "wanted is alice").await;
    assert_eq!(revision(&gateway).await, Value::Null);
    desk.sign(&["mallory"]);
    fails_with(&gateway, "plugin-signature-refused", "none of the 1").await;
    desk.sign(&["bob"]);
    fails_with(&gateway, "plugin-signature-refused", "signed by bob").await;
    std::fs::write(desk.path("policy.wasm.sig"), "<html>not found</html>").unwrap();
    fails_with(&gateway, "plugin-signature-refused", "line 1").await;

    desk.sign(&["alice"]);
    is_active(&gateway, json!(["alice"])).await;
    let history = gateway.get("/plugins/history").await;
    let change = &history["changes"][0];
    assert_eq!(change["signedBy"], json!({"policy": ["alice"]}));
    assert_eq!(change["digests"]["policy"], digest(&desk.component()));
    assert_eq!(change["by"], "watch");
    assert!(change["at"].is_string() && change["revision"].is_string());
    let shown: Value =
        serde_json::from_str(&said(&desk.tell(&gateway, &["show", "policy"]).await)).unwrap();
    assert_eq!(shown["signedBy"], json!(["alice"]));
    let request = gateway.request_with("run it", json!({"permissionMode": "bypassPermissions"}));
    let (report, _) = gateway.ends(&request).await;
    let decisions = gateway.decisions(report["taskId"].as_str().unwrap()).await;
    assert_eq!(decisions[0]["verdict"], "deny", "the job needed no key");

    // A second signer changes nothing that runs, and is shown.
    let before = revision(&gateway).await;
    desk.sign(&["bob", "alice"]);
    is_active(&gateway, json!(["alice", "bob"])).await;

    let mut bytes = std::fs::read(desk.component()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(desk.component(), bytes).unwrap();
    let failed = fails_with(&gateway, "plugin-signature-refused", "none of the 2").await;
    assert_eq!(failed["state"], "active", "what ran goes on");
    assert_eq!(revision(&gateway).await, before);
    assert_eq!(
        gateway.get("/plugins/history").await["changes"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn two_signatures_of_one_key_are_one_signer() {
    let desk = Desk::new();
    let names = ["alice", "bob", "mallory"];
    desk.configure(
        &names,
        "any_of = { minimum = 2, keys = ['alice', 'bob', 'mallory'] }",
    );
    desk.sign(&["alice", "alice"]);
    let gateway = desk.gateway("text-only").await;
    fails_with(
        &gateway,
        "plugin-signature-refused",
        "signed by alice; wanted is 2 of",
    )
    .await;
    desk.sign(&["alice", "bob"]);
    is_active(&gateway, json!(["alice", "bob"])).await;
    // More lines, or bytes, than anybody's list of signers has.
    let line = desk.signature("alice", &desk.component()) + "\n";
    std::fs::write(desk.path("policy.wasm.sig"), line.repeat(17)).unwrap();
    fails_with(&gateway, "plugin-signature-refused", "more than 16").await;
    std::fs::write(desk.path("policy.wasm.sig"), "\n".repeat((16 << 10) + 1)).unwrap();
    fails_with(&gateway, "plugin-signature-refused", "at most 16384 bytes").await;
}

#[tokio::test]
async fn without_anything_wanted_signers_are_shown_and_nobody_is_needed() {
    let desk = Desk::new();
    desk.configure(&["alice"], "");
    let gateway = desk.gateway("text-only").await;
    is_active(&gateway, json!([])).await;
    std::fs::write(desk.path("policy.wasm.sig"), "no signature").unwrap();
    desk.sign(&["mallory", "alice"]);
    is_active(&gateway, json!(["alice"])).await;
}

#[tokio::test]
async fn a_key_that_is_gone_lets_nothing_back_in_and_ends_no_task() {
    let desk = Desk::new();
    desk.place(&shipped("tool-rules"));
    desk.configure(&["alice", "bob"], "all_of = ['alice']");
    desk.sign(&["alice"]);
    let mut gateway = desk.gateway("slow").await;
    let before = revision(&gateway).await;
    let request = gateway.request_with("run it", json!({"allowedTools": ["Bash"], "maxTurns": 20}));
    let mut running = gateway.run(&request).await;
    let id = running.task_id.clone();
    running
        .until(|event| event.data.contains("Slow step 1."))
        .await;

    desk.configure(&["bob"], "all_of = ['bob']");
    gateway.stop().await;
    gateway.start_again().await;
    let status = gateway.get("/plugins").await;
    assert_eq!(status["revision"], Value::Null);
    let error = status["error"].as_str().unwrap();
    assert!(
        error.contains("the set from before") && error.contains("wanted is bob"),
        "{error}"
    );
    fails_with(&gateway, "plugin-signature-refused", "wanted is bob").await;
    assert_eq!(gateway.refused(&request).await["code"], "plugins-not-ready");

    assert_eq!(gateway.ended(&id).await["status"], "completed");
    let decisions = gateway.decisions(&id).await;
    assert_eq!(decisions.len(), 14);
    assert!(
        decisions
            .iter()
            .all(|decision| decision["revision"] == before)
    );

    desk.sign(&["bob"]);
    is_active(&gateway, json!(["bob"])).await;
    assert_eq!(revision(&gateway).await, before, "it is the same set");
}

#[tokio::test]
async fn a_set_is_gone_back_to_as_long_as_its_signers_still_count() {
    let desk = Desk::new();
    desk.configure(&["alice", "bob"], "all_of = ['alice']");
    desk.sign(&["alice"]);
    let mut gateway = desk.gateway("text-only").await;
    is_active(&gateway, json!(["alice"])).await;
    let old = revision(&gateway).await.as_str().unwrap().to_owned();
    desk.place(&shipped("tool-rules"));
    desk.sign(&["alice", "bob"]);
    is_active(&gateway, json!(["alice", "bob"])).await;
    let new = revision(&gateway).await;

    // Its file is gone, its signature is not.
    gateway.stop().await;
    gateway.start_again().await;
    said(&desk.tell(&gateway, &["rollback", &old]).await);
    is_active_in_the_past(&gateway, &old).await;

    desk.configure(&["alice", "bob"], "all_of = ['bob']");
    gateway.stop().await;
    gateway.start_again().await;
    assert_eq!(
        revision(&gateway).await,
        new,
        "what an operator chose cannot be had any more"
    );
    for verb in [&["rollback", &*old][..], &["try", &*old, "--shadow"]] {
        let told = refused(&desk.tell(&gateway, verb).await);
        assert!(told.contains("signed by alice; wanted is bob"), "{told}");
    }
    let client = reqwest::Client::new();
    let answer = client
        .post(format!("{}/plugins/rollback", gateway.url))
        .bearer_auth(gateway.admin_key())
        .json(&json!({ "revision": old }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 422);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["code"],
        "plugins-refused"
    );
    assert_eq!(revision(&gateway).await, new);
}

async fn is_active_in_the_past(gateway: &Gateway, old: &str) {
    let status = gateway.get("/plugins").await;
    assert_eq!(status["revision"], old);
    assert_eq!(status["plugins"][0]["signedBy"], json!(["alice"]));
    let history = gateway.get("/plugins/history").await;
    let change = &history["changes"][0];
    assert_eq!(change["how"], "rollback");
    assert_eq!(change["signedBy"], json!({"policy": ["alice"]}));
}

/// A server of files that come and go.
#[derive(Clone, Default)]
struct Server {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
    is_away: Arc<Mutex<bool>>,
}

impl Server {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = self.clone();
        let answer = move |uri: axum::http::Uri| {
            server.asked.lock().unwrap().push(uri.to_string());
            let file = server.files.lock().unwrap().get(&uri.to_string()).cloned();
            std::future::ready(match (*server.is_away.lock().unwrap(), file) {
                (true, _) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                (false, Some(file)) => file.into_response(),
                (false, None) => StatusCode::NOT_FOUND.into_response(),
            })
        };
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(answer))
                .await
                .unwrap();
        });
        url
    }

    fn put(&self, path: &str, content: Vec<u8>) {
        self.files.lock().unwrap().insert(path.to_owned(), content);
    }
}

#[tokio::test]
async fn signatures_are_fetched_from_beside_a_component_and_kept_when_the_server_goes() {
    let desk = Desk::new();
    desk.configure(&["alice", "bob"], "all_of = ['bob']");
    let server = Server::default();
    let url = server.start().await;
    server.put("/v1/p.wasm?as=is", std::fs::read(desk.component()).unwrap());
    let mut gateway = desk.gateway("text-only").await;
    let manifest = format!(
        "[[plugin]]\nname = \"policy\"\nworld = \"tool-permission\"\nsource = \"{url}/v1/p.wasm?as=is\"\n\
         sha256 = \"{}\"\n",
        digest(&desk.component())
    );
    std::fs::write(manifest_of(&gateway), manifest).unwrap();
    eventually("the server is asked for signatures", || async {
        let asked = server.asked.lock().unwrap();
        asked
            .contains(&"/v1/p.wasm.sig?as=is".to_owned())
            .then_some(())
    })
    .await;
    fails_with(&gateway, "plugin-unsigned", "wanted is bob").await;

    server.put("/v1/p.wasm.sig?as=is", vec![b'A'; (16 << 10) + 1]);
    refused(&desk.tell(&gateway, &["reload"]).await);
    fails_with(
        &gateway,
        "plugin-signature-refused",
        "more than 16384 bytes",
    )
    .await;

    // While the signatures cannot be had, they are asked for again by itself.
    *server.is_away.lock().unwrap() = true;
    refused(&desk.tell(&gateway, &["reload"]).await);
    fails_with(&gateway, "plugin-source-unreachable", "503").await;
    let signature = desk.signature("bob", &desk.component());
    server.put("/v1/p.wasm.sig?as=is", signature.into_bytes());
    *server.is_away.lock().unwrap() = false;
    is_active(&gateway, json!(["bob"])).await;

    *server.is_away.lock().unwrap() = true;
    gateway.stop().await;
    server.asked.lock().unwrap().clear();
    gateway.start_again().await;
    is_active(&gateway, json!(["bob"])).await;
    assert!(
        server.asked.lock().unwrap().is_empty(),
        "nobody had to be asked"
    );
}

#[tokio::test]
async fn nothing_is_loaded_but_what_the_lock_file_has_be_it_newer_or_older() {
    let desk = Desk::new();
    desk.configure(&["alice"], "all_of = ['alice']");
    desk.sign(&["alice"]);
    let old = (
        std::fs::read(desk.component()).unwrap(),
        std::fs::read(desk.path("policy.wasm.sig")).unwrap(),
    );
    let gateway = desk.gateway("text-only").await;
    is_active(&gateway, json!(["alice"])).await;
    let lock = manifest_of(&gateway).with_extension("lock");
    assert!(refused(&desk.plugin(&gateway, &["lock", "--check"]).await).contains("there is no"));
    assert!(!lock.exists());

    desk.place(&shipped("tool-rules"));
    desk.sign(&["alice"]);
    said(&desk.plugin(&gateway, &["lock"]).await);
    said(&desk.plugin(&gateway, &["lock", "--check"]).await);
    let is_new =
        |line: &Value| line["digest"] == digest(&desk.component()) && line["error"].is_null();
    line(&gateway, is_new).await;
    let new = revision(&gateway).await;

    // An older one that was signed well is refused all the same.
    std::fs::write(desk.component(), &old.0).unwrap();
    std::fs::write(desk.path("policy.wasm.sig"), &old.1).unwrap();
    fails_with(&gateway, "plugin-not-locked", "gatehouse plugin lock").await;
    assert_eq!(revision(&gateway).await, new, "what ran goes on");
    let told = refused(&desk.plugin(&gateway, &["lock", "--check"]).await);
    assert!(told.contains("policy: locked at"), "{told}");

    // The same bytes from elsewhere were not looked at there.
    let elsewhere =
        Manifest::empty().plugin("policy", "tool-permission", shipped("tool-rules"), "");
    std::fs::write(manifest_of(&gateway), elsewhere.text()).unwrap();
    fails_with(&gateway, "plugin-not-locked", "the manifest from").await;
    let more = desk.manifest().guest("denies-all", "tool-permission");
    std::fs::write(manifest_of(&gateway), more.text()).unwrap();
    eventually("the one that is not locked says so", || async {
        let status = gateway.get("/plugins").await;
        let mut lines = status["plugins"].as_array()?.iter();
        lines
            .any(|line| line["name"] == "denies-all" && line["code"] == "plugin-not-locked")
            .then_some(())
    })
    .await;

    // Locking it is what makes it active: the gateway looks at the lock file as well.
    std::fs::write(manifest_of(&gateway), desk.manifest().text()).unwrap();
    fails_with(&gateway, "plugin-not-locked", "the lock file has").await;
    said(&desk.plugin(&gateway, &["lock"]).await);
    line(&gateway, is_new).await;
    assert_ne!(revision(&gateway).await, new);

    std::fs::write(&lock, "[[plugin]").unwrap();
    eventually("a broken lock file is no absent one", || async {
        let status = gateway.get("/plugins").await;
        status["error"]
            .as_str()?
            .contains("is broken")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn verify_says_what_would_be_loaded_and_how_that_differs_from_what_is() {
    let desk = Desk::new();
    desk.configure(&["alice"], "all_of = ['alice']");
    desk.sign(&["alice"]);
    let gateway = desk.gateway("text-only").await;
    is_active(&gateway, json!(["alice"])).await;
    let row = |table: &str| -> Vec<String> {
        let row = table
            .lines()
            .find(|row| row.starts_with("policy "))
            .unwrap();
        row.split_whitespace().map(str::to_owned).collect()
    };
    let table = said(&desk.plugin(&gateway, &["verify"]).await);
    let start = digest(&desk.component())[..12].to_owned();
    assert_eq!(
        row(&table),
        ["policy", "loads", &*start, "no", "no", "alice", "-", "-"]
    );
    said(&desk.plugin(&gateway, &["lock"]).await);
    let table = said(&desk.tell(&gateway, &["verify", "policy"]).await);
    assert_eq!(row(&table)[3..5], ["no", "yes"]);
    let unknown = refused(&desk.plugin(&gateway, &["verify", "nothing"]).await);
    assert!(unknown.contains("there are: policy"), "{unknown}");

    std::fs::remove_file(desk.path("policy.wasm.sig")).unwrap();
    let output = desk.tell(&gateway, &["verify", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["plugins"][0]["code"], "plugin-unsigned");
    assert!(
        answer["differences"]["policy"]
            .as_str()
            .unwrap()
            .contains("is loaded")
    );
    let table = refused(&desk.plugin(&gateway, &["verify"]).await);
    assert!(
        table.contains("fails") && table.contains("plugin-unsigned: "),
        "{table}"
    );

    // Another component than the one that is loaded; the gateway refuses it, for want of a lock.
    let lock = manifest_of(&gateway).with_extension("lock");
    desk.place(&shipped("tool-rules"));
    desk.sign(&["alice"]);
    fails_with(&gateway, "plugin-not-locked", "SHA-256").await;
    assert!(lock.exists());
    let aside = tempfile::tempdir().unwrap();
    let manifest = aside.path().join("plugins.toml");
    std::fs::write(&manifest, desk.manifest().text()).unwrap();
    let other = format!("plugins.manifest={}", manifest.display());
    let differs = refused(&desk.tell(&gateway, &["verify", "--set", &other]).await);
    assert!(
        differs.contains("loads") && differs.contains("would be"),
        "{differs}"
    );
}
