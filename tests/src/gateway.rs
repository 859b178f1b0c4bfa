//! The real binary as a test sees it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use scripted_model::{Options, Recorded, Scenarios, ScriptedModel};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::canary::Canaries;
use crate::compiled;
use crate::job_logs;
use crate::manifest::Manifest;
use crate::processes::{self, Process};
use crate::{CloudRun, GitServer, Registry, Stream, binary, eventually, on_cloud, repository};

/// User ids for the agents of each gateway, so that tests side by side do not meet.
static NEXT_UID: AtomicU32 = AtomicU32::new(0);
const UIDS: u32 = 8;

/// A gateway that is to be started.
pub struct Builder {
    scenario: String,
    script: Option<Value>,
    manifest: Option<String>,
    environment: BTreeMap<String, String>,
    secrets: Vec<String>,
    empty_disk: bool,
}

/// A gateway that runs, with everything around it.
pub struct Gateway {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// The secrets it was given.
    pub canaries: Canaries,
    model: ScriptedModel,
    scenario: String,
    root: TempDir,
    environment: BTreeMap<String, String>,
    process: Child,
    client: reqwest::Client,
    /// Its own, where the tests run in the cloud.
    pub(crate) cloud: Option<CloudRun>,
}

impl Gateway {
    /// The shipped plugins and the scenario `text-only`, unless said otherwise.
    pub fn with() -> Builder {
        Builder {
            scenario: "text-only".to_owned(),
            script: None,
            manifest: None,
            environment: BTreeMap::new(),
            secrets: Vec::new(),
            empty_disk: false,
        }
    }

    /// A request for the scenario with the canary key and nothing unusual.
    pub fn request(&self, words: &str) -> Value {
        let prompt = format!("scenario: {}. {words}", self.scenario);
        json!({"prompt": prompt, "anthropicApiKey": self.canaries.api_key, "model": "claude-sonnet-5-5"})
    }

    /// The same with more fields.
    pub fn request_with(&self, prompt: &str, more: Value) -> Value {
        let mut request = self.request(prompt);
        if let (Value::Object(request), Value::Object(more)) = (&mut request, more) {
            request.extend(more);
        }
        request
    }

    /// `POST /run`, as a stream.
    pub async fn run(&self, request: &Value) -> Stream {
        Stream::open(self.post("/run", request).await).await
    }

    /// A task of `/run` from its start to its end: the report, and every event before it. Nothing of
    /// the task is left then.
    pub async fn ends(&self, request: &Value) -> (Value, Vec<crate::Event>) {
        let events = self.run(request).await.rest().await;
        let report = events.last().expect("an end").json();
        self.is_clean().await;
        (report, events)
    }

    /// The refusal of a request that must not be taken.
    pub async fn refused(&self, request: &Value) -> Value {
        let response = self.post("/run", request).await;
        let status = response.status().as_u16();
        let mut body: Value = response.json().await.expect("JSON");
        assert!(status >= 400, "it was taken: {body}");
        body["status"] = status.into();
        body
    }

    /// `POST /run-async` that must be accepted; the task's id.
    pub async fn run_async(&self, request: &Value) -> String {
        let response = self.post("/run-async", request).await;
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(status, 202, "{body}");
        body["taskId"].as_str().expect("an id").to_owned()
    }

    /// Any POST.
    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.client
            .post(format!("{}{path}", self.url))
            .json(body)
            .send()
            .await
            .expect("the gateway answers")
    }

    /// A POST of bytes that need not be JSON.
    pub async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json");
        request
            .body(body)
            .send()
            .await
            .expect("the gateway answers")
    }

    /// A GET that must answer JSON with a success.
    pub async fn get(&self, path: &str) -> Value {
        let response = self.try_get(path).await.expect("the gateway answers");
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        response.json().await.expect("JSON")
    }

    /// Any GET.
    pub async fn try_get(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        self.client.get(format!("{}{path}", self.url)).send().await
    }

    /// `GET /tasks/{id}/events` after a sequence number.
    pub async fn events(&self, id: &str, after: u64) -> Stream {
        let request = self.client.get(format!("{}/tasks/{id}/events", self.url));
        let request = if after > 0 {
            request.header("last-event-id", after.to_string())
        } else {
            request
        };
        Stream::open(request.send().await.expect("the gateway answers")).await
    }

    /// The record once it is terminal.
    pub async fn ended(&self, id: &str) -> Value {
        eventually(&format!("task {id} ends"), || async {
            let record: Value = self
                .try_get(&format!("/tasks/{id}"))
                .await
                .ok()?
                .json()
                .await
                .ok()?;
            matches!(
                record["status"].as_str(),
                Some("completed" | "failed" | "cancelled")
            )
            .then_some(record)
        })
        .await
    }

    /// The lines of `GET /tasks/{id}/decisions`.
    pub async fn decisions(&self, id: &str) -> Vec<Value> {
        let text = self
            .try_get(&format!("/tasks/{id}/decisions"))
            .await
            .expect("answers")
            .text()
            .await
            .expect("text");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a decision is JSON"))
            .collect()
    }

    /// Where the model listens.
    pub fn model_url(&self) -> String {
        self.model.url()
    }

    /// What the model was asked so far.
    pub fn model_requests(&self) -> Vec<Recorded> {
        self.model.requests()
    }

    /// The first user id that an agent of this gateway may have.
    pub fn first_agent_uid(&self) -> u32 {
        self.environment["GATEHOUSE__ISOLATION__UID_BASE"]
            .parse()
            .expect("a number")
    }

    /// What this gateway keeps on this machine; where that is all, see also [`Gateway::object`].
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Workspaces.
    pub fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// What the gateway has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("gateway.log")).unwrap_or_default()
    }

    /// All processes of this gateway but itself: jobs, guards, agents and what they started.
    pub fn processes(&self) -> Vec<Process> {
        let own = self.process.id().map(|pid| pid as i32);
        processes::below(self.root.path())
            .into_iter()
            .filter(|process| Some(process.pid) != own)
            .collect()
    }

    /// Processes whose command line holds `word`, once there is one.
    pub async fn process_named(&self, word: &str) -> Process {
        eventually(&format!("a process {word}"), || async {
            self.processes()
                .into_iter()
                .find(|process| process.command.contains(word))
        })
        .await
    }

    /// Bytes of memory that the gateway's process holds.
    pub fn memory(&self) -> u64 {
        self.of_memory("VmRSS:")
    }

    /// The most that it held since its start.
    pub fn peak_memory(&self) -> u64 {
        self.of_memory("VmHWM:")
    }

    fn of_memory(&self, field: &str) -> u64 {
        processes::memory(self.process.id().expect("it runs"), field)
    }

    /// The key that the gateway made for its operator.
    pub fn admin_key(&self) -> String {
        let path = self.data().join("keys/admin.key");
        fs::read_to_string(path)
            .expect("it was made")
            .trim()
            .to_owned()
    }

    /// `gatehouse plugin …` against it, with the key that it made.
    pub async fn plugin(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .arg("plugin")
            .args(arguments)
            .args(["--url", &self.url])
            .current_dir(repository())
            .env_clear()
            .env("GATEHOUSE_DATA_DIR", self.data())
            .output()
            .await
            .expect("it starts")
    }

    /// SIGKILL to the gateway, and only to it.
    pub async fn kill(&mut self) {
        self.process.start_kill().expect("it runs");
        self.process.wait().await.expect("it ends");
    }

    /// Starts it again on the same data, at another port.
    pub async fn start_again(&mut self) {
        let (process, url) = launch(self.root.path(), &self.environment).await;
        (self.process, self.url) = (process, url);
    }

    /// A second gateway with the same settings on the same data, which lives as long as its process; its
    /// address.
    pub async fn twin(&self) -> (Child, String) {
        launch(self.root.path(), &self.environment).await
    }

    /// What a job of its own that something else starts is to be told.
    pub(crate) fn job_environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.environment.clone();
        // Secrets of the gateway, which jobs are never given.
        for secret in [
            "CLOUDRUN_CALLBACK_SECRET",
            "GATEHOUSE_API_KEYS",
            "GATEHOUSE_ADMIN_KEY",
            "GATEHOUSE__PLUGINS__REGISTRIES",
        ] {
            environment.remove(secret);
        }
        environment.insert("PATH".to_owned(), std::env::var("PATH").expect("text"));
        if environment.contains_key("GCS_LOGS_BUCKET") {
            // Then they have nothing in common with the gateway but the bucket.
            let data = self.root.path().join("executions");
            environment.insert("GATEHOUSE_DATA_DIR".to_owned(), data.display().to_string());
        }
        environment
    }

    /// What such jobs have logged.
    pub(crate) fn job_log(&self) -> PathBuf {
        self.root.path().join("executions.log")
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(&mut self) -> std::process::ExitStatus {
        self.signal(Signal::SIGTERM);
        self.process.wait().await.expect("it ends")
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.process.id() {
            let pid = nix::unistd::Pid::from_raw(pid as i32);
            let _ = nix::sys::signal::kill(pid, signal);
        }
    }

    /// Below it is everything that it and its jobs have on this machine.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }
}

/// A test that failed leaves nothing behind either: jobs outlive their gateway on purpose. Guards are
/// spared, because they end what their job leaves.
impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        let left = processes::below(self.root.path());
        left.iter()
            .filter(|process| !process.is_guard())
            .for_each(Process::kill);
    }
}

impl Builder {
    /// A file of `tests/scenarios/` or `examples/scenarios/`, without its ending.
    pub fn scenario(mut self, name: &str) -> Self {
        name.clone_into(&mut self.scenario);
        self
    }

    /// What the model answers, turn by turn, whatever it is asked.
    pub fn turns(mut self, turns: Value) -> Self {
        self.script = Some(json!({"conversations": [{"prompt": "", "turns": turns}]}));
        self
    }

    /// The content of a scenario file.
    pub fn script(mut self, scenario: Value) -> Self {
        self.script = Some(scenario);
        self
    }

    /// In place of the shipped plugins.
    pub fn plugins(mut self, manifest: &Manifest) -> Self {
        self.manifest = Some(manifest.text().to_owned());
        self
    }

    /// A setting by its variable, e.g. `MAX_CONCURRENT_TASKS` or `GATEHOUSE__AGENT__IDLE_TIMEOUT`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Trusts this server of repositories; what lets callers in there is a canary.
    pub fn git_server(mut self, server: &GitServer) -> Self {
        for (name, value) in server.settings() {
            self = self.env(name, &value);
        }
        self.secrets
            .extend([server.key.clone(), server.token.clone()]);
        self
    }

    /// Without what other gateways of this run have compiled.
    pub fn on_an_empty_disk(mut self) -> Self {
        self.empty_disk = true;
        self
    }

    /// A further secret that must not be seen.
    pub fn canary(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// Knows this registry, with its password where it has one, which is a canary.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.secrets.extend(registry.password.clone());
        self.env("GATEHOUSE__PLUGINS__REGISTRIES", &registry.settings())
    }

    /// Starts everything, in the cloud where [`on_cloud`] says so and the test itself says nothing of it.
    pub async fn start(mut self) -> Gateway {
        let mut cloud = None;
        if on_cloud() && !self.environment.contains_key("GATEHOUSE__GOOGLE__ENDPOINT") {
            let service = CloudRun::start().await;
            let tests_own = std::mem::take(&mut self.environment);
            self = self.cloud(&service);
            self.environment.extend(tests_own);
            cloud = Some(service);
        }
        let mut canaries = Canaries::fresh();
        self.secrets.iter().for_each(|secret| canaries.add(secret));
        let options = Options {
            expect_key: Some(canaries.api_key.clone()),
            ..Options::default()
        };
        let scenarios = match self.script {
            Some(script) => Scenarios::from_json(script).expect("a scenario"),
            None => {
                Scenarios::load(scenario(&self.scenario)).unwrap_or_else(|error| panic!("{error}"))
            }
        };
        let model = ScriptedModel::start_with(scenarios, options)
            .await
            .expect("a free port");

        let root = tempfile::Builder::new()
            .prefix("gatehouse-")
            .tempdir()
            .expect("a temporary directory");
        // The agent has a user of its own and must reach its workspace.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let manifest = root.path().join("plugins.toml");
        let text = self
            .manifest
            .unwrap_or_else(|| Manifest::shipped().text().to_owned());
        fs::write(&manifest, text).expect("writable");

        let uid = 200_000
            + (std::process::id() % 10_000) * 1_000
            + NEXT_UID.fetch_add(1, Ordering::Relaxed) * UIDS;
        let mut environment = BTreeMap::from([
            (
                "GATEHOUSE_DATA_DIR".to_owned(),
                root.path().join("data").display().to_string(),
            ),
            (
                "GATEHOUSE__JOB__WORK_DIR".to_owned(),
                root.path().join("work").display().to_string(),
            ),
            ("GATEHOUSE_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("GATEHOUSE_ANTHROPIC_URL".to_owned(), model.url()),
            (
                "GATEHOUSE_PLUGINS".to_owned(),
                manifest.display().to_string(),
            ),
            (
                "GATEHOUSE_CLAUDE_BIN".to_owned(),
                cli().display().to_string(),
            ),
            ("GATEHOUSE__ISOLATION__UID_BASE".to_owned(), uid.to_string()),
            (
                "GATEHOUSE__ISOLATION__UID_COUNT".to_owned(),
                UIDS.to_string(),
            ),
            (
                "CLOUDRUN_CALLBACK_SECRET".to_owned(),
                canaries.webhook_secret.clone(),
            ),
            ("LOG_LEVEL".to_owned(), "debug".to_owned()),
        ]);
        environment.extend(self.environment);
        if !self.empty_disk {
            compiled::lend(&root.path().join("data"));
        }
        let (process, url) = launch(root.path(), &environment).await;
        job_logs::keep(root.path().join("data/jobs"), root.path().join("job-logs"));
        let gateway = Gateway {
            url,
            canaries,
            model,
            scenario: self.scenario,
            root,
            environment,
            process,
            client: reqwest::Client::new(),
            cloud,
        };
        if !self.empty_disk {
            compiled::keep(&gateway.data());
        }
        if let Some(service) = &gateway.cloud {
            compiled::lend(&gateway.root().join("executions"));
            service.deploy(&gateway, |_| ());
        }
        gateway
    }
}

/// Starts the binary and reads its address from its first line.
async fn launch(root: &Path, environment: &BTreeMap<String, String>) -> (Child, String) {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(root.join("gateway.log"))
        .expect("writable");
    let mut child = Command::new(crate::binary())
        .arg("serve")
        .current_dir(root)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines
        .next_line()
        .await
        .expect("readable")
        .unwrap_or_default();
    let Some(url) = first.strip_prefix("listening on ") else {
        panic!(
            "no address but {first:?}: {}",
            fs::read_to_string(root.join("gateway.log")).unwrap_or_default()
        );
    };
    (child, url.to_owned())
}

fn scenario(name: &str) -> PathBuf {
    let file = |folder: &str| repository().join(folder).join(format!("{name}.json"));
    let ours = file("tests/scenarios");
    if ours.exists() {
        ours
    } else {
        file("examples/scenarios")
    }
}

/// The pinned CLI that `scripts/install-cli.sh` installs.
pub fn cli() -> PathBuf {
    if let Some(named) = std::env::var_os("GATEHOUSE_CLAUDE_BIN") {
        return named.into();
    }
    let packages = repository().join("tools/node_modules/@anthropic-ai");
    let found = fs::read_dir(&packages)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("claude-code-")
        })
        .map(|entry| entry.path().join("claude"))
        .find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!(
            "no CLI below {}: run `scripts/install-cli.sh` first",
            packages.display()
        )
    })
}
