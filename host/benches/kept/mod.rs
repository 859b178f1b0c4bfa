//! Leaves single measurements where Criterion leaves its rounds, and in its form.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

/// Times of single calls.
pub(crate) fn times(name: &str, took: &[Duration]) {
    let nanos: Vec<f64> = took.iter().map(|took| took.as_nanos() as f64).collect();
    values(name, &nanos, "ns");
}

/// Anything else that was measured.
pub(crate) fn values(name: &str, values: &[f64], unit: &str) {
    let home = std::env::var_os("CRITERION_HOME");
    let directory = home
        .map_or_else(|| repository("target/criterion"), PathBuf::from)
        .join(name.replace('/', "_"))
        .join("new");
    std::fs::create_dir_all(&directory).unwrap();
    let sample = json!({"iters": vec![1.0; values.len()], "times": values, "unit": unit});
    std::fs::write(directory.join("sample.json"), sample.to_string()).unwrap();
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    println!("{name}: p50 {:.2} {unit}, p99 {:.2} {unit}", at(50), at(99));
}

/// A place in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
