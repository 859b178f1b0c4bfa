//! What one decision about a tool call costs: the plugin alone with an instance made for the call, the same
//! with one made ahead of it, the whole question to the set as the job asks it, and, for comparison, a native
//! closure that comes to the same answer.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod kept;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use gatehouse::bucket::directory::DirectoryBucket;
use gatehouse::config::{self, Config, Sources};
use gatehouse::plugin::{
    Grants, PluginSet, Plugins, RealPath, TaskState, TaskView, ToolCall, Verdict,
};
use gatehouse::redact::Redactor;
use gatehouse::task::Mode;
use gatehouse::wasm::{Compiler, Component, Engine, Limits, Reach, Terms, World};

use kept::repository;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// What a job gives the plugins by default.
const PATIENCE: Duration = Duration::from_secs(5);
/// Single calls of what is measured with a pause before each.
const CALLS: usize = 3000;
/// An agent waits for its model for seconds; here it is what the next instance needs, and some more.
const PAUSE: Duration = Duration::from_micros(200);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let runtime = Runtime::new().unwrap();
    let bench = Bench::new();
    bench.native(&mut criterion);
    for (plugin, source) in [
        (
            "denies-all",
            repository("tests/guests/dist/denies-all.wasm"),
        ),
        ("same-rule", repository("tests/guests/dist/same-rule.wasm")),
        ("tool-rules", repository("plugins/dist/tool-rules.wasm")),
        ("shell-guard", repository("plugins/dist/shell-guard.wasm")),
    ] {
        bench.component(&mut criterion, &runtime, plugin, &source);
        bench.set(&runtime, plugin, &source);
    }
    criterion.final_summary();
}

struct Bench {
    directory: tempfile::TempDir,
    task: Arc<TaskView>,
    calls: [(&'static str, ToolCall); 2],
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let request = json!({
            "prompt": "Write a haiku about gates to haiku.txt",
            "allowedTools": ["Write", "Read", "Bash(git log *)", "Bash(git diff *)"],
        });
        let request = request.as_object().unwrap();
        let task = TaskView::new(
            "bench".parse().unwrap(),
            Mode::Sync,
            "anonymous",
            jiff::Timestamp::UNIX_EPOCH,
            request,
        );
        let file = directory.path().join("haiku.txt");
        let call = |tool: &str, input: Value| ToolCall {
            id: "toolu_01ABCDEFGHIJKLMNOPQRSTUV".into(),
            tool: tool.into(),
            input,
            workspace: directory.path().into(),
            cwd: directory.path().into(),
            subagent: None,
            mcp_server: None,
            index: 0,
            real: RealPath::Now,
        };
        let calls = [
            (
                "Write",
                call(
                    "Write",
                    json!({"file_path": file, "content": "gates\n".repeat(50)}),
                ),
            ),
            (
                "Bash",
                call(
                    "Bash",
                    json!({"command": "git log --oneline -5 && git diff HEAD~1 -- src"}),
                ),
            ),
        ];
        Self {
            directory,
            task: Arc::new(task),
            calls,
        }
    }

    /// The rule of `same-rule` in Rust.
    fn native(&self, criterion: &mut Criterion) {
        type Policy = Box<dyn Fn(&ToolCall) -> Verdict>;
        let denied = |reason: &str| Verdict::Deny(reason.into());
        let policy: Policy = Box::new(move |call| {
            if !["Write", "Read", "Bash"].contains(&call.tool.as_str()) {
                return denied("not allowed");
            }
            let command = call.input["command"].as_str().unwrap_or_default();
            if call.tool == "Bash" && (command.contains("sudo") || command.contains("rm -rf")) {
                return denied("a word that is denied");
            }
            Verdict::Allow(None)
        });
        for (tool, call) in &self.calls {
            criterion.bench_function(&format!("decision/native/{tool}"), |bencher| {
                bencher.iter(|| policy(black_box(call)));
            });
        }
    }

    /// The plugin alone.
    fn component(&self, criterion: &mut Criterion, runtime: &Runtime, plugin: &str, source: &Path) {
        let terms = Terms {
            name: plugin.into(),
            world: World::ToolPermission,
            grants: Grants::default(),
            settings: "{}".into(),
            limits: Limits {
                memory: 64 << 20,
                time: Duration::from_millis(200),
                output: 1 << 20,
            },
        };
        let bytes = std::fs::read(source).unwrap().into();
        let component = runtime.block_on(async {
            let engine = Engine::new(4, Compiler::here()).unwrap();
            Component::load(&engine, None, terms, bytes).await.unwrap()
        });
        let ready = runtime.block_on(async { component.clone().kept_ready() });
        for (tool, call) in &self.calls {
            let call = Arc::new(call.clone());
            let reach = || Reach {
                task: Some(self.task.clone()),
                call: Some(call.clone()),
                ..Reach::default()
            };
            criterion.bench_function(&format!("decision/wasm/{plugin}/{tool}"), |bencher| {
                bencher.to_async(runtime).iter(|| component.decide(reach()));
            });
            let (mut fresh, mut ahead) = (Vec::new(), Vec::new());
            for _ in 0..CALLS {
                for (component, took) in [(&component, &mut fresh), (&ready, &mut ahead)] {
                    runtime.block_on(component.prepare());
                    std::thread::sleep(PAUSE);
                    let since = Instant::now();
                    black_box(runtime.block_on(component.decide(reach())));
                    took.push(since.elapsed());
                }
            }
            kept::times(&format!("decision/made-for-it/{plugin}/{tool}"), &fresh);
            kept::times(&format!("decision/ready/{plugin}/{tool}"), &ahead);
        }
    }

    /// The question as the job puts it, with the record of what was decided.
    fn set(&self, runtime: &Runtime, plugin: &str, source: &Path) {
        let config = self.config(plugin, source);
        let set = runtime.block_on(async {
            let bucket = Arc::new(DirectoryBucket::open(config.data_dir.join("bucket")).unwrap());
            let plugins = Plugins::load(&config, Compiler::here(), bucket.clone()).await;
            let active = plugins.active().unwrap();
            let revision = active.set().revision();
            PluginSet::pinned(&config, bucket, revision, Redactor::default())
                .await
                .unwrap()
        });
        let state = TaskState::default();
        for (tool, call) in &self.calls {
            let took = (0..CALLS).map(|_| {
                runtime.block_on(set.prepare());
                std::thread::sleep(PAUSE);
                let call = call.clone();
                let since = Instant::now();
                black_box(runtime.block_on(set.decide(&self.task, call, &state, PATIENCE)));
                since.elapsed()
            });
            let took: Vec<Duration> = took.collect();
            kept::times(&format!("decision/set/{plugin}/{tool}"), &took);
        }
    }

    fn config(&self, plugin: &str, source: &Path) -> Config {
        let manifest = self.directory.path().join(format!("{plugin}.toml"));
        let entry = format!(
            "[[plugin]]\nname = \"{plugin}\"\nworld = \"tool-permission\"\nsource = {source:?}\n"
        );
        std::fs::write(&manifest, entry).unwrap();
        let data = self.directory.path().join("data");
        let flags = [("data_dir", data), ("plugins.manifest", manifest)];
        let flags = flags.map(|(key, path)| (key.to_owned(), path.display().to_string()));
        config::load(&Sources {
            file: None,
            environment: Default::default(),
            flags: flags.into(),
        })
        .unwrap()
    }
}
