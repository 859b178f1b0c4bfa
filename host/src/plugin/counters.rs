//! What became of a plugin's calls, as an operator is shown it: counts, times, the most memory.
//!
//! A gateway counts its validators' calls itself. Tool calls and actions happen in jobs: they are counted
//! from the task's log of decisions when the job is over.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::codec::{FramedRead, LinesCodec};

use super::live::Plugins;
use super::loaded::LoadedPlugin;
use super::{Active, Decision, PluginSet};
use crate::bucket::{Bucket, BucketError};
use crate::task::{TaskId, names};

/// The longest time that is told apart, in microseconds: an hour, the longest that a call may take.
const LONGEST: u64 = 3_600_000_000;
/// Digits of a time that count: two are within 1 %.
const DIGITS: u8 = 2;
/// A line of the log is bounded by what a plugin may say.
const LINE: usize = 1 << 20;

/// What was counted of one plugin since it was loaded.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    calls: u64,
    denials: u64,
    traps: u64,
    /// In microseconds.
    times: Option<Histogram<u32>>,
    memory: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            calls: 0,
            denials: 0,
            traps: 0,
            // The bounds are right, so there always is one.
            times: Histogram::new_with_bounds(1, LONGEST, DIGITS).ok(),
            memory: 0,
        }
    }
}

impl Counters {
    /// One answer, or what went wrong in its place.
    pub(super) fn count(&self, decision: &Decision) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.calls += 1;
        counted.denials += u64::from(decision.refuses());
        counted.traps += u64::from(decision.fault.is_some());
        counted.memory = counted.memory.max(decision.memory);
        if let Some(times) = &mut counted.times {
            times.saturating_record(decision.micros);
        }
    }

    /// A call of which there is no decision went wrong.
    pub(super) fn faulted(&self) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.calls += 1;
        counted.traps += 1;
    }

    /// How many answers there were, and how many denials among them.
    pub(super) fn answers(&self) -> (u64, u64) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (counted.calls, counted.denials)
    }

    /// Members of a line of `GET /plugins`.
    pub(super) fn status(&self) -> Map<String, Value> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = counted.times.as_ref().filter(|times| !times.is_empty());
        let micros = times.map(|times| {
            json!({
                "p50": times.value_at_quantile(0.5),
                "p99": times.value_at_quantile(0.99),
                "max": times.max(),
            })
        });
        let members = json!({
            "calls": counted.calls,
            "denials": counted.denials,
            "traps": counted.traps,
            "micros": micros,
            "memoryHighWater": counted.memory,
        });
        match members {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }
}

impl Plugins {
    /// Counts what the plugins said in jobs, as tasks end. A gateway that falls behind by more than the
    /// channel holds leaves some out: these are figures, the log of decisions is the record.
    pub fn keep_counting(self: &Arc<Self>, bucket: Arc<dyn Bucket>, mut ended: Receiver<TaskId>) {
        let plugins = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                match ended.recv().await {
                    Ok(id) => {
                        if let Err(error) = plugins.count_job(bucket.as_ref(), &id).await {
                            tracing::debug!(task = %id, %error, "its decisions cannot be counted");
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    async fn count_job(&self, bucket: &dyn Bucket, id: &TaskId) -> Result<(), BucketError> {
        let Some(active) = self.active() else {
            return Ok(());
        };
        let name = names::decisions(id);
        let Some((_, reader)) = bucket.download(&name, 0).await? else {
            return Ok(());
        };
        let mut lines = FramedRead::new(reader, LinesCodec::new_with_max_length(LINE));
        while let Some(line) = lines.next().await {
            // The last line may be one that says how many were dropped.
            let Some(decision) = line
                .ok()
                .and_then(|line| serde_json::from_str::<Decision>(&line).ok())
            else {
                continue;
            };
            if matches!(&*decision.stage, "tool" | "action")
                && let Some(counters) = counters_of(&active, &decision)
            {
                counters.count(&decision);
            }
        }
        Ok(())
    }
}

fn counters_of<'a>(active: &'a Active, decision: &Decision) -> Option<&'a Counters> {
    if decision.plugin.is_empty() {
        let mut sets = active.sets();
        let very = sets.find(|set| set.revision() == decision.revision)?;
        return very.group(decision.by()).map(|group| &group.counters);
    }
    who_said(active, decision).map(|plugin| &plugin.counters)
}

/// The plugin of the very set, or where that is active no more, the same component in one that is.
fn who_said<'a>(active: &'a Active, decision: &Decision) -> Option<&'a Arc<LoadedPlugin>> {
    let of_set = |set: &'a Arc<PluginSet>| set.plugin(&decision.plugin);
    let mut sets = active.sets();
    let very = sets.find(|set| set.revision() == decision.revision);
    let same = |plugin: &&Arc<LoadedPlugin>| plugin.pin.digest == decision.digest;
    very.and_then(of_set)
        .or_else(|| active.sets().filter_map(of_set).find(same))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn decision(verdict: &str, micros: u64, memory: u64) -> Decision {
        serde_json::from_value(json!({
            "at": "2026-01-01T00:00:00Z", "stage": "tool", "plugin": "p", "digest": "d",
            "revision": "r", "mode": "enforce", "verdict": verdict, "enforced": true,
            "micros": micros, "memory": memory,
        }))
        .unwrap()
    }

    #[test]
    fn nothing_counted_is_nothing_told() {
        let status = Counters::default().status();
        assert_eq!(status["calls"], 0);
        assert_eq!(status["micros"], Value::Null);
    }

    #[test]
    fn times_are_told_by_their_quantiles_and_memory_by_its_most() {
        let counters = Counters::default();
        for micros in 1..=100 {
            counters.count(&decision("abstain", micros * 10, micros));
        }
        counters.count(&decision("deny", u64::MAX, 7));
        counters.faulted();
        let status = counters.status();
        assert_eq!(
            (&status["calls"], &status["denials"], &status["traps"]),
            (&json!(102), &json!(1), &json!(1))
        );
        assert_eq!(status["memoryHighWater"], 100);
        let p50 = status["micros"]["p50"].as_u64().unwrap();
        assert!((500..=515).contains(&p50), "{p50}");
        let p99 = status["micros"]["p99"].as_u64().unwrap();
        assert!((990..=1015).contains(&p99), "{p99}");
    }
}
