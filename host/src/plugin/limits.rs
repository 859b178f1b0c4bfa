//! The limits of a manifest's entry: sizes and times as texts, with what holds where nothing is said.

use std::time::Duration;

use serde::Deserialize;

use super::manifest::mistake;
use crate::config;
use crate::wasm::{Limits, LoadError, MAX_MEMORY, World};

/// What a post-execution plugin may take that states nothing: it waits for the storage, where the
/// others only think.
pub(super) const ACTION_TIME: Duration = Duration::from_secs(60);
/// No call may hold a place for longer than this.
const LONGEST: Duration = Duration::from_secs(3600);
/// Smallest memory that any toolchain's components start with: one page is 64 KiB.
const LEAST_MEMORY: u64 = 64 << 10;
/// Most bytes that may cross at once.
const MOST_OUTPUT: u64 = 64 << 20;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsText {
    memory: Option<String>,
    time: Option<String>,
    output: Option<String>,
}

pub(super) fn limits(
    world: World,
    text: &LimitsText,
    defaults: &config::Plugins,
) -> Result<Limits, LoadError> {
    let time = match world {
        World::PostExecution => defaults.time.max(ACTION_TIME),
        World::Validator | World::ToolPermission => defaults.time,
    };
    let memory = text
        .memory
        .as_deref()
        .map_or(Ok(defaults.memory), |text| size("memory", text))?;
    let output = text
        .output
        .as_deref()
        .map_or(Ok(defaults.output), |text| size("output", text))?;
    let time = text.time.as_deref().map_or(Ok(time), duration)?;
    if !(LEAST_MEMORY..=MAX_MEMORY).contains(&memory) {
        return Err(mistake("limits.memory is from 64KiB to 1GiB"));
    }
    if output > MOST_OUTPUT {
        return Err(mistake("limits.output is at most 64MiB"));
    }
    if time.is_zero() || time > LONGEST {
        return Err(mistake("limits.time is more than nothing and at most 1h"));
    }
    Ok(Limits {
        memory,
        time,
        output,
    })
}

fn size(name: &str, text: &str) -> Result<u64, LoadError> {
    let wrong = || {
        mistake(format!(
            "limits.{name} `{text}` is no size: write \"512KiB\", \"64MiB\" or \"1GiB\""
        ))
    };
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(wrong)
}

fn duration(text: &str) -> Result<Duration, LoadError> {
    let wrong = || {
        mistake(format!(
            "limits.time `{text}` is no duration: write \"200ms\", \"30s\" or \"5m\""
        ))
    };
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    millis.map(Duration::from_millis).ok_or_else(wrong)
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or((text, ""))
}
