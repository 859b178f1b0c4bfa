//! A real OCI registry on loopback: Debian's `docker-registry`, with a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::git_server::daemons::free_port;
use crate::{binary, eventually};

const USER: &str = "gatehouse";
/// The password and what bcrypt makes of it.
const PASSWORD: &str = "canary-registry-password";
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuFqj9r0gzLJx5.wQXjqr5awOiZGCazOq";

/// The registry. It ends when this drops.
pub struct Registry {
    root: TempDir,
    /// `127.0.0.1:PORT`
    pub host: String,
    /// Lets callers in, where it wants one.
    pub password: Option<String>,
    server: Option<Child>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Registry {
    /// For everybody.
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// For those who know the password.
    pub async fn start_with_password() -> Self {
        Self::with(Some(PASSWORD.to_owned())).await
    }

    async fn with(password: Option<String>) -> Self {
        let root = tempfile::Builder::new()
            .prefix("registry-")
            .tempdir()
            .expect("a temporary directory");
        let at = |name: &str| root.path().join(name).display().to_string();
        let host = format!("127.0.0.1:{}", free_port());
        fs::write(at("users"), format!("{USER}:{HASH}\n")).expect("writable");
        let auth = match &password {
            Some(_) => format!(
                "auth: {{htpasswd: {{realm: tests, path: {}}}}}\n",
                at("users")
            ),
            None => String::new(),
        };
        let settings = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {host}}}\n{auth}",
            at("store")
        );
        fs::write(at("registry.yml"), settings).expect("writable");
        let mut registry = Self {
            root,
            host,
            password,
            server: None,
        };
        registry.start_again().await;
        registry
    }

    /// At the same place, with what it has.
    pub async fn start_again(&mut self) {
        let at = |name: &str| self.root.path().join(name);
        let program = "/usr/bin/docker-registry";
        let server = Command::new(program)
            .arg("serve")
            .arg(at("registry.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("registry.log")).expect("writable"))
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: `scripts/check.sh` installs it"));
        self.server = Some(server);
        eventually("the registry listens", || async {
            tokio::net::TcpStream::connect(&self.host).await.ok()
        })
        .await;
    }

    /// Ends it. What it has stays.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// A source of a manifest; `name` is `REPOSITORY:TAG`.
    pub fn source(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.host)
    }

    /// `plugins.registries` by which this registry is known.
    pub fn settings(&self) -> String {
        settings(&self.host, self.password.as_deref())
    }

    /// `gatehouse plugin push`; panics where it is refused.
    pub async fn push(&self, what: &Path, name: &str) {
        let settings = self.settings();
        let (what, source) = (what.display().to_string(), self.source(name));
        let output = plugin(&settings, &[], &["push", &what, &source]).await;
        assert!(output.status.success(), "{output:?}");
    }

    /// Puts an artifact there as any tool might: the config's media type, and layers with theirs.
    pub async fn put(&self, name: &str, config: &str, layers: &[(&str, &[u8])]) {
        let (repository, tag) = name.split_once(':').expect("REPOSITORY:TAG");
        let mut parts = Vec::new();
        for (kind, bytes) in [(config, &b"{}"[..])].iter().chain(layers) {
            let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
            let uploads = self.url(&format!("{repository}/blobs/uploads/"));
            let begun = reqwest::Client::new()
                .post(uploads)
                .send()
                .await
                .expect("it answers");
            let mut to: url::Url = begun.headers()["location"]
                .to_str()
                .expect("text")
                .parse()
                .expect("a URL");
            to.query_pairs_mut().append_pair("digest", &digest);
            let sent = reqwest::Client::new()
                .put(to)
                .body(bytes.to_vec())
                .send()
                .await;
            assert_eq!(sent.expect("it answers").status(), 201);
            parts.push(json!({ "mediaType": kind, "digest": digest, "size": bytes.len() }));
        }
        let config = parts.remove(0);
        self.put_manifest(
            &format!("{repository}/manifests/{tag}"),
            &json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": parts,
            }),
        )
        .await;
    }

    /// Any manifest, at a path below `/v2/`.
    pub async fn put_manifest(&self, path: &str, manifest: &Value) {
        let kind = manifest["mediaType"].as_str().expect("a media type");
        let sent = reqwest::Client::new()
            .put(self.url(path))
            .header("content-type", kind)
            .body(manifest.to_string())
            .send()
            .await;
        assert_eq!(sent.expect("it answers").status(), 201);
    }

    /// `sha256:…` of the manifest that `REPOSITORY:TAG` stands for.
    pub async fn digest(&self, name: &str) -> String {
        let (repository, tag) = name.split_once(':').expect("REPOSITORY:TAG");
        let place = self.url(&format!("{repository}/manifests/{tag}"));
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let asked = reqwest::Client::new().head(place).header("accept", kind);
        let answer = asked.send().await.expect("it answers");
        let digest = answer.headers()["docker-content-digest"].to_str();
        digest.expect("text").to_owned()
    }

    /// Puts a signature beside the artifact with this manifest, where cosign puts it.
    pub async fn put_signature(
        &self,
        repository: &str,
        digest: &str,
        payload: &[u8],
        signature: &str,
    ) {
        const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
        const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
        let tag = format!("{}.sig", digest.replace(':', "-"));
        let place = format!("{repository}:{tag}");
        self.put(&place, CONFIG, &[(PAYLOAD, payload)]).await;
        let described = |kind: &str, bytes: &[u8]| {
            let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
            json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
        };
        let mut layer = described(PAYLOAD, payload);
        layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": signature });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described(CONFIG, b"{}"),
            "layers": [layer],
        });
        let place = format!("{repository}/manifests/{tag}");
        self.put_manifest(&place, &manifest).await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v2/{path}", self.host)
    }
}

/// `plugins.registries` with one registry without TLS.
pub fn settings(host: &str, password: Option<&str>) -> String {
    let password = password.map_or_else(String::new, |password| {
        format!(", username = \"{USER}\", password = \"{password}\"")
    });
    format!("{{ \"{host}\" = {{ plain_http = true{password} }} }}")
}

/// `gatehouse plugin …` with these registries.
pub async fn plugin(
    registries: &str,
    environment: &[(&str, PathBuf)],
    arguments: &[&str],
) -> Output {
    let cache = tempfile::tempdir().expect("a temporary directory");
    tokio::process::Command::new(binary())
        .arg("plugin")
        .args(arguments)
        .current_dir(cache.path())
        .env_clear()
        .env("XDG_CACHE_HOME", cache.path())
        .env("GATEHOUSE__PLUGINS__REGISTRIES", registries)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .await
        .expect("it starts")
}
