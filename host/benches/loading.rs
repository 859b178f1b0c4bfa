//! What plugins cost before they are called: a set from the cache of compiled code, a component's first
//! compilation, and the memory that a loaded one takes.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod kept;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::bucket::directory::DirectoryBucket;
use gatehouse::config::{self, Config, Sources};
use gatehouse::plugin::{Grants, PluginSet, Plugins};
use gatehouse::redact::Redactor;
use gatehouse::wasm::{Cache, Compiler, Component, Engine, Limits, Terms, World};
use kept::repository;
use tokio::runtime::Runtime;

const SETS: usize = 100;
/// Loaded at once to see what one takes.
const COPIES: usize = 20;

fn main() {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    runtime.block_on(sets(directory.path()));
    for (language, component) in [
        ("Rust", "examples/plugins/rust/plugin.wasm"),
        ("C", "examples/plugins/c/plugin.wasm"),
        ("JavaScript", "examples/plugins/javascript/plugin.wasm"),
        ("Python", "examples/plugins/python/plugin.wasm"),
    ] {
        let bytes = std::fs::read(repository(component)).unwrap().into();
        runtime.block_on(one(directory.path(), language, bytes));
    }
}

/// All shipped plugins, as a job loads the set that its task is pinned to.
async fn sets(directory: &Path) {
    let config = shipped(directory);
    let bucket = Arc::new(DirectoryBucket::open(config.data_dir.join("bucket")).unwrap());
    let plugins = Plugins::load(&config, Compiler::here(), bucket.clone()).await;
    assert_eq!(plugins.last_error(), None);
    let active = plugins.active().unwrap();
    let revision = active.set().revision();
    let mut took = Vec::new();
    for _ in 0..SETS {
        let since = Instant::now();
        let set = PluginSet::pinned(&config, bucket.clone(), revision, Redactor::default());
        let set = set.await.unwrap();
        took.push(since.elapsed());
        drop(set);
    }
    kept::times("loading/set", &took);
}

/// Every plugin of the shipped manifest, those that it only suggests included.
fn shipped(directory: &Path) -> Config {
    const KEYS: [&str; 9] = [
        "name", "world", "source", "grants", "limits", "always", "when", "required", "settings",
    ];
    let text = std::fs::read_to_string(repository("plugins/manifest.toml")).unwrap();
    let is_entry = |line: &str| {
        let key = line.split_once(" = ").map(|(key, _)| key);
        line == "[[plugin]]" || key.is_some_and(|key| KEYS.contains(&key))
    };
    let (text, _groups) = text.split_once("# [[group]]").unwrap_or((&text, ""));
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(entry) if is_entry(entry) => entry,
        _ => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let components = repository("plugins/dist").display().to_string();
    let text = text.replace("source = \"dist", &format!("source = \"{components}"));
    // What is shipped in place of a secret address is none.
    let text = text.replace("/services/…", "/services/x");
    let manifest = directory.join("plugins.toml");
    std::fs::write(&manifest, text).unwrap();
    let flags = [
        ("data_dir", directory.join("data")),
        ("plugins.manifest", manifest),
    ];
    let flags = flags.map(|(key, path)| (key.to_owned(), path.display().to_string()));
    config::load(&Sources {
        file: None,
        environment: Default::default(),
        flags: flags.into(),
    })
    .unwrap()
}

/// A policy in one language: compiled for the first time, from the cache, and in memory.
async fn one(directory: &Path, language: &str, bytes: Arc<[u8]>) {
    let engine = Engine::new(4, Compiler::here()).unwrap();
    let load = |cache| Component::load(&engine, cache, terms(), bytes.clone());
    let mut first = Vec::new();
    for _ in 0..3 {
        let since = Instant::now();
        load(None).await.unwrap();
        first.push(since.elapsed());
    }
    kept::times(&format!("loading/first/{language}"), &first);
    let cache = || Some(Cache::open(&directory.join("data"), None));
    load(cache()).await.unwrap();
    let before = resident();
    let (mut took, mut loaded) = (Vec::new(), Vec::new());
    for _ in 0..COPIES {
        let since = Instant::now();
        loaded.push(load(cache()).await.unwrap());
        took.push(since.elapsed());
    }
    kept::times(&format!("loading/cached/{language}"), &took);
    let each = (resident() - before) / COPIES as f64;
    kept::values(&format!("loading/memory/{language}"), &[each], "MiB");
    let size = bytes.len() as f64 / f64::from(1 << 20);
    kept::values(&format!("loading/size/{language}"), &[size], "MiB");
}

fn terms() -> Terms {
    Terms {
        name: "policy".into(),
        world: World::ToolPermission,
        grants: Grants::default(),
        settings: "{}".into(),
        limits: Limits {
            memory: 128 << 20,
            time: Duration::from_secs(1),
            output: 1 << 20,
        },
    }
}

/// Resident MiB of this process.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024.0
}
