//! The benchmarks of the parts, which Criterion has run before and left below `target/criterion`.

use std::path::PathBuf;

use serde_json::Value;

use crate::numbers::{Row, Sample};

/// Questions as an agent puts them, with a pause before each, to an instance made ahead; beside one made for
/// the question, and the same small rule beside what else it could be written in.
pub fn decisions() -> Vec<Row> {
    if measured("decision/native/Bash").is_none() {
        return missing("decision");
    }
    let mut rows = Vec::new();
    for plugin in ["denies-all", "tool-rules", "shell-guard"] {
        for tool in ["Write", "Bash"] {
            let name = |way: &str| format!("decision/{way}/{plugin}/{tool}");
            if let (Some(ready), Some(made)) =
                (measured(&name("ready")), measured(&name("made-for-it")))
            {
                let what = format!("decision of `{plugin}` on {tool}");
                let row = Row::new(&what, ready).beside("its instance made for the call", made);
                rows.push(row.p50_below(15.0).p99_below(50.0));
                let whole = measured(&name("set"));
                rows.extend(whole.map(|whole| {
                    Row::new(format!("{what}, with its record"), whole).p50_below(100.0)
                }));
            }
        }
    }
    for (language, peer) in [
        ("decision/native/Bash", "in Rust, in the host"),
        ("peers/lua", "in Lua, one state for all calls"),
        ("peers/lua-fresh", "in Lua, a state for each call"),
        ("peers/rhai", "in Rhai"),
        ("peers/cel", "in CEL"),
        ("peers/rego", "in Rego (regorus)"),
    ] {
        if let (Some(ours), Some(peers)) = (
            measured("decision/ready/same-rule/Bash"),
            measured(language),
        ) {
            rows.push(Row::new("one small rule on Bash, as a plugin", ours).beside(peer, peers));
        }
    }
    rows
}

/// What plugins cost before they are called.
pub fn loading() -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(set) = measured("loading/set") {
        rows.push(Row::new("all shipped plugins loaded from the cache", set).p50_below(5000.0));
    }
    for language in ["Rust", "C", "JavaScript", "Python"] {
        let of = |what: &str| measured(&format!("loading/{what}/{language}"));
        if let (Some(first), Some(cached)) = (of("first"), of("cached")) {
            let row = Row::new(
                format!("a plugin in {language} compiled for the first time"),
                first,
            );
            rows.push(row.beside("from the cache", cached));
        }
        if let (Some(memory), Some(size)) = (of("memory"), of("size")) {
            let row = Row::new(format!("memory of a loaded plugin in {language}"), memory);
            rows.push(row.beside("its component", size));
        }
    }
    rows
}

/// Through the broker, beside directly.
pub fn broker() -> Vec<Row> {
    let (Some(through), Some(direct)) = (measured("broker/through"), measured("broker/direct"))
    else {
        return missing("broker");
    };
    vec![Row::new("first byte through the broker", through).beside("directly", direct)]
}

fn missing(bench: &str) -> Vec<Row> {
    eprintln!("no results of `cargo bench -p gatehouse --bench {bench}`");
    Vec::new()
}

/// Criterion measures rounds of many calls; this is each round's mean. What was measured call by call stands
/// there in the same form.
fn measured(name: &str) -> Option<Sample> {
    let target = std::env::current_exe().ok()?.ancestors().nth(3)?.to_owned();
    let file: PathBuf = [
        target,
        "criterion".into(),
        name.replace('/', "_").into(),
        "new/sample.json".into(),
    ]
    .iter()
    .collect();
    let sample: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let rounds = sample["times"]
        .as_array()?
        .iter()
        .zip(sample["iters"].as_array()?);
    let means = rounds.filter_map(|(time, calls)| Some(time.as_f64()? / calls.as_f64()? / 1000.0));
    match sample["unit"].as_str() {
        Some("MiB") => Some(Sample::new(means.map(|mean| mean * 1000.0), "MiB")),
        _ => Some(Sample::new(means, "µs")),
    }
}
