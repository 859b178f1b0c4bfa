//! `gatehouse plugin bench`: what a call costs, each on a fresh instance.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use cases::Case;
use serde_json::{Value, json};

use super::run::verdict;
use super::subject::{Subject, told};
use crate::config::Sources;
use crate::plugin::{CaseInput, Told};

/// Calls before it is measured: caches fill, and the pool's first places are made.
const WARM_UP: u32 = 10;

pub(super) async fn run(
    subject: &Subject,
    input: &Path,
    number: u32,
    json: bool,
    sources: &Sources,
) -> anyhow::Result<bool> {
    let opened = subject.open(sources).await?;
    let case = Case::open(input).map_err(anyhow::Error::msg)?;
    let world = opened.terms.world;
    let settings = match case.find("settings").map_err(anyhow::Error::msg)? {
        Some(Value::Object(settings)) => Some(settings),
        _ => None,
    };
    let started = Instant::now();
    let trial = opened.load(settings).await.map_err(told)?;
    let load = started.elapsed();
    // A new input for each call, so that what a plugin noted in one is not there in the next.
    let ask = || async {
        let input = CaseInput::of(world, &case).map_err(anyhow::Error::msg)?;
        anyhow::Ok(opened.bench.ask(&trial, &input).await)
    };
    for _ in 0..WARM_UP {
        let told = ask().await?;
        if told.is_fault() {
            let outcome = Value::Object(told.outcome);
            bail!("it gives no answer to this, so there is nothing to measure: {outcome}");
        }
    }
    let mut calls: Vec<Told> = Vec::new();
    for _ in 0..number {
        calls.push(ask().await?);
    }
    let measured = Measured::of(&calls, load);
    if json {
        println!("{:#}", measured.json());
    } else {
        print!("{}", measured.shown());
    }
    Ok(!calls.iter().any(Told::is_fault))
}

struct Measured {
    verdict: String,
    calls: usize,
    load: Duration,
    min: Duration,
    p50: Duration,
    p99: Duration,
    max: Duration,
    memory: Option<u64>,
}

impl Measured {
    fn of(calls: &[Told], load: Duration) -> Self {
        let mut times: Vec<Duration> = calls.iter().map(|call| call.time).collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let last = times.len().saturating_sub(1);
            times.get(last * percent / 100).copied().unwrap_or_default()
        };
        Self {
            verdict: calls
                .first()
                .map_or_else(String::new, |call| verdict(&call.outcome)),
            calls: calls.len(),
            load,
            min: at(0),
            p50: at(50),
            p99: at(99),
            max: at(100),
            memory: calls.iter().filter_map(|call| call.memory).max(),
        }
    }

    fn json(&self) -> Value {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        json!({
            "verdict": self.verdict,
            "instances": self.calls,
            "loadMicros": micros(self.load),
            "minMicros": micros(self.min),
            "p50Micros": micros(self.p50),
            "p99Micros": micros(self.p99),
            "maxMicros": micros(self.max),
            "memoryBytes": self.memory,
        })
    }

    fn shown(&self) -> String {
        let micros = |time: Duration| format!("{} µs", time.as_micros());
        let memory = self.memory.map_or_else(
            || "not measured".to_owned(),
            |bytes| format!("{} KiB", bytes >> 10),
        );
        [
            ("verdict", self.verdict.clone()),
            ("calls", format!("{}, each on a fresh instance", self.calls)),
            ("load", micros(self.load)),
            ("min", micros(self.min)),
            ("p50", micros(self.p50)),
            ("p99", micros(self.p99)),
            ("max", micros(self.max)),
            ("memory", memory),
        ]
        .iter()
        .map(|(name, value)| format!("{name:<9} {value}\n"))
        .collect()
    }
}
