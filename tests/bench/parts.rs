//! The benchmarks of the parts, which Criterion has run before and left below `target/criterion`.

use std::path::PathBuf;

use serde_json::Value;

use crate::numbers::{Row, Sample};

/// The plugin alone, and the whole question to the set; beside a native closure.
pub fn decisions() -> Vec<Row> {
    let Some(native) = measured("decision/native/Write") else {
        return missing("decision");
    };
    let mut rows = Vec::new();
    for plugin in ["denies-all", "tool-rules"] {
        for tool in ["Write", "Bash"] {
            for (way, words, goal) in [
                ("wasm", "the plugin alone", 20.0),
                ("set", "with its record", 100.0),
            ] {
                rows.extend(
                    measured(&format!("decision/{way}/{plugin}/{tool}")).map(|sample| {
                        Row::new(format!("decision of `{plugin}` on {tool}, {words}"), sample)
                            .beside("a native closure", native.clone())
                            .p50_below(goal)
                    }),
                );
            }
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

/// Criterion measures rounds of many calls; this is each round's mean.
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
    Some(Sample::new(means, "µs"))
}
