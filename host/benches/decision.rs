//! What one decision about a tool call costs: the plugin alone (a fresh store and instance for the
//! call), the whole question to the set as the job asks it, and, for comparison, a native closure
//! that comes to the same answer.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use gatehouse::bucket::directory::DirectoryBucket;
use gatehouse::config::{self, Config, Sources};
use gatehouse::plugin::{Grants, Plugins, RealPath, TaskState, TaskView, ToolCall, Verdict};
use gatehouse::task::Mode;
use gatehouse::wasm::{Compiler, Component, Engine, Limits, Reach, Terms, World};

/// What a job gives the plugins by default.
const PATIENCE: Duration = Duration::from_secs(5);
use serde_json::{Value, json};
use tokio::runtime::Runtime;

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
        ("tool-rules", repository("plugins/dist/tool-rules.wasm")),
        ("shell-guard", repository("plugins/dist/shell-guard.wasm")),
    ] {
        bench.component(&mut criterion, &runtime, plugin, &source);
        bench.set(&mut criterion, &runtime, plugin, &source);
    }
    criterion.final_summary();
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
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

    /// Compares the tool with the list, as the smallest of policies would.
    fn native(&self, criterion: &mut Criterion) {
        type Policy = Box<dyn Fn(&TaskView, &ToolCall) -> Verdict>;
        let policy: Policy = Box::new(|task, call| {
            let mut allowed = task
                .request
                .get("allowedTools")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            match allowed.any(|rule| rule.as_str() == Some(call.tool.as_str())) {
                true => Verdict::Allow(None),
                false => Verdict::Deny {
                    plugin: "native".into(),
                    reason: "not in allowedTools".into(),
                },
            }
        });
        let (_, call) = &self.calls[0];
        criterion.bench_function("decision/native/Write", |bencher| {
            bencher.iter(|| policy(black_box(&self.task), black_box(call)));
        });
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
        for (tool, call) in &self.calls {
            let call = Arc::new(call.clone());
            criterion.bench_function(&format!("decision/wasm/{plugin}/{tool}"), |bencher| {
                bencher.to_async(runtime).iter(|| {
                    component.decide(Reach {
                        task: Some(self.task.clone()),
                        call: Some(call.clone()),
                        ..Reach::default()
                    })
                });
            });
        }
    }

    /// The question as the job puts it, with the record of what was decided.
    fn set(&self, criterion: &mut Criterion, runtime: &Runtime, plugin: &str, source: &Path) {
        let config = self.config(plugin, source);
        let set = runtime.block_on(async {
            let bucket = DirectoryBucket::open(config.data_dir.join("bucket")).unwrap();
            let plugins = Plugins::load(&config, Compiler::here(), Arc::new(bucket)).await;
            plugins.active().unwrap().set().clone()
        });
        let state = TaskState::default();
        for (tool, call) in &self.calls {
            criterion.bench_function(&format!("decision/set/{plugin}/{tool}"), |bencher| {
                bencher
                    .to_async(runtime)
                    .iter(|| set.decide(&self.task, call.clone(), &state, PATIENCE));
            });
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
