//! A repository of 2 GiB, and a workspace with a million files: neither may fill the memory or hang
//! what comes after the agent.

use std::process::Command;
use std::time::{Duration, Instant};

use gatehouse_tests::git_server::Repository;
use gatehouse_tests::{Event, GitServer, processes};
use serde_json::json;

use crate::numbers::{Row, Sample};
use crate::setting;

/// Files of random bytes, which nothing makes smaller.
const FILES: usize = 32;
const FILE: usize = 64 << 20;
/// One below the bound of a search, directories included.
const DIRECTORIES: usize = 999;
const NAMES: usize = 1000;
/// What the stand-in does: nothing, at once.
const PROMPT: &str = "tell the time: 1 of 1 every 1";

pub async fn measure() -> Vec<Row> {
    let mut rows = large().await;
    rows.extend(many().await);
    rows
}

async fn large() -> Vec<Row> {
    let server = GitServer::start().await;
    let repository = server.empty_repository("large");
    fill(&repository);
    let settings = server.settings();
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let gateway = setting::gateway(&settings).await;
    let fields = json!({"gitRepo": repository.ssh(), "sshKey": server.key});
    let request = gateway.request_with(PROMPT, fields);
    let mut stream = gateway.run(&request).await;
    let state = |event: &Event, state: &str| {
        let line = event.json();
        line["phase"] == "clone" && line["state"] == state
    };
    stream
        .until(|event| event.id.is_some() && state(event, "started"))
        .await;
    let since = Instant::now();
    stream
        .until(|event| event.id.is_some() && state(event, "done"))
        .await;
    let took = since.elapsed();
    let data = gateway.data();
    let root = data.parent().expect("below the root");
    let job = processes::named(root, " run-job")
        .into_iter()
        .next()
        .expect("it runs");
    let memory = setting::memory(job.pid, "VmHWM") / 1024.0;
    stream.rest().await;
    setting::end(gateway).await;

    let beside = tempfile::tempdir().expect("a temporary directory");
    let since = Instant::now();
    run(Command::new("git")
        .args(["clone", "--quiet", "--depth", "1", &repository.ssh(), "."])
        .env("GIT_SSH_COMMAND", server.ssh_command())
        .current_dir(beside.path()));
    let peer = since.elapsed();
    vec![
        Row::new("clone of 2 GiB by SSH, checked out", Sample::of([took]))
            .beside("`git clone` by OpenSSH", Sample::of([peer])),
        Row::new("memory of the job after it", Sample::new([memory], "MiB")),
    ]
}

fn fill(repository: &Repository<'_>) {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let at = tree.path();
    let file = |number: usize| at.join(format!("file-{number}"));
    for number in 0..FILES {
        let source = std::fs::File::open("/dev/urandom").expect("there");
        let mut source = std::io::Read::take(source, FILE as u64);
        let mut target = std::fs::File::create(file(number)).expect("writable");
        std::io::copy(&mut source, &mut target).expect("written");
    }
    let git = |arguments: &[&str]| {
        run(Command::new("git")
            .args(["-c", "core.compression=0", "-c", "core.bigFileThreshold=1m"])
            .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
            .args(arguments)
            .current_dir(at));
    };
    git(&["init", "--quiet", "--initial-branch=trunk", "."]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "Large"]);
    let remote = repository.path().display().to_string();
    // Kept as the pack that comes in, as in a repository that has been there for a while; else the
    // server looks for likeness between 32 files of noise, for minutes.
    git(&["-C", &remote, "config", "receive.unpackLimit", "1"]);
    git(&["push", "--quiet", &remote, "HEAD:refs/heads/trunk"]);
}

async fn many() -> Vec<Row> {
    let gateway = setting::gateway(&[("GATEHOUSE__ISOLATION__MAX_PROCESSES", "4096")]).await;
    let make = format!(
        "for d in $(seq {DIRECTORIES}); do mkdir $d; (cd $d; seq {NAMES} | xargs touch); done"
    );
    let fields = json!({
        "preExecutionCommands": [make, "find . -name '*.none' | wc -l"],
        "postExecutionActions": {"uploadFiles": {"globPatterns": ["**/*.none"]}},
    });
    let mut stream = gateway.run(&gateway.request_with(PROMPT, fields)).await;
    let at = |event: &Event, phase: &str, wanted: &str| {
        let line = event.json();
        line["phase"] == phase && (line["state"] == wanted || line["text"] == wanted)
    };
    let second = |event: &Event| event.id.is_some() && event.json()["command"] == 2;
    stream.until(second).await;
    let since = Instant::now();
    stream
        .until(|event| second(event) && at(event, "preExecution", "0"))
        .await;
    let peer = since.elapsed();
    stream
        .until(|event| event.id.is_some() && at(event, "actions", "started"))
        .await;
    let since = Instant::now();
    stream
        .until(|event| event.id.is_some() && at(event, "actions", "ok"))
        .await;
    let took = since.elapsed();
    let job = gateway.process_named(" run-job").await;
    let memory = setting::memory(job.pid, "VmHWM") / 1024.0;
    stream.rest().await;
    let since = Instant::now();
    gateway.is_clean().await;
    let cleaned = since.elapsed();
    setting::end(gateway).await;
    vec![
        Row::new("search of a million files by an action", Sample::of([took]))
            .beside("`find` as the agent", Sample::of([peer])),
        Row::new("memory of the job after it", Sample::new([memory], "MiB")),
        Row::new(
            "their removal after the report",
            Sample::of([cleaned.max(Duration::from_micros(1))]),
        ),
    ]
}

fn run(command: &mut Command) {
    let status = command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .status()
        .expect("git is installed");
    assert!(status.success(), "{command:?}");
}
