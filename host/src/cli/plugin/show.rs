//! Answers about plugins as an operator reads them.

use anyhow::Context;
use serde_json::Value;

/// A line for each plugin, and below it what is wrong with it.
pub(super) fn list(answer: &Value) -> String {
    let mut lines = vec![format!("revision {}", word(answer, "revision"))];
    for plugin in plugins(answer) {
        let number = |name: &str| plugin.get(name).and_then(Value::as_u64).unwrap_or(0);
        lines.push(
            format!(
                "{:<20} {:<16} {:<8} {:<8} {:<12} {} calls, {} denials, {} traps",
                word(plugin, "name"),
                word(plugin, "world"),
                word(plugin, "mode"),
                word(plugin, "state"),
                start(word(plugin, "digest")),
                number("calls"),
                number("denials"),
                number("traps"),
            ) + &times(plugin),
        );
        if let Some(error) = plugin.get("error").and_then(Value::as_str) {
            lines.push(format!("    {error}"));
        }
    }
    for group in named(answer, "groups") {
        let number = |name: &str| group.get(name).and_then(Value::as_u64).unwrap_or(0);
        lines.push(format!(
            "{:<20} {:<16} {:<8} {:<8} {:<12} {} calls, {} denials",
            word(group, "name"),
            word(group, "world"),
            word(group, "mode"),
            word(group, "state"),
            "group",
            number("calls"),
            number("denials"),
        ));
        lines.push(format!("    {}", word(group, "expression")));
        if let Some(error) = group.get("error").and_then(Value::as_str) {
            lines.push(format!("    {error}"));
        }
    }
    if let (Some(error), true) = (
        answer.get("error").and_then(Value::as_str),
        plugins(answer).is_empty(),
    ) {
        lines.push(error.to_owned());
    }
    whole(lines)
}

fn times(plugin: &Value) -> String {
    let at = |name: &str| {
        plugin
            .pointer(&format!("/micros/{name}"))
            .and_then(Value::as_u64)
    };
    match (at("p50"), at("p99")) {
        (Some(p50), Some(p99)) => format!(", p50 {p50} us, p99 {p99} us"),
        _ => String::new(),
    }
}

/// One plugin or group of the answer.
pub(super) fn find<'a>(answer: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let all = || plugins(answer).iter().chain(named(answer, "groups"));
    let known = || {
        let names = all().map(|plugin| word(plugin, "name"));
        names.collect::<Vec<_>>().join(", ")
    };
    all()
        .find(|plugin| word(plugin, "name") == name)
        .with_context(|| {
            format!(
                "no plugin or group is named `{name}`; there are: {}",
                known()
            )
        })
}

/// A line for each change.
pub(super) fn history(answer: &Value) -> String {
    let changes = answer.get("changes").and_then(Value::as_array);
    let line = |change: &Value| {
        format!(
            "{:>6}  {:<28} {:<18} {:<10} {}",
            change.get("number").and_then(Value::as_u64).unwrap_or(0),
            word(change, "at"),
            word(change, "revision"),
            word(change, "how"),
            word(change, "by"),
        )
    };
    whole(changes.into_iter().flatten().map(line).collect())
}

/// What differs between two sets, then between what they said.
pub(super) fn difference(answer: &Value) -> String {
    let mut lines = Vec::new();
    for plugin in plugins(answer).iter().chain(named(answer, "groups")) {
        lines.push(format!(
            "{:<20} {}",
            word(plugin, "name"),
            word(plugin, "change")
        ));
        let fields = plugin.get("fields").and_then(Value::as_object);
        if word(plugin, "change") != "changed" {
            continue;
        }
        for (name, values) in fields.into_iter().flatten() {
            let value = |side: &str| values.get(side).map_or_else(String::new, Value::to_string);
            lines.push(format!("    {name}: {} -> {}", value("from"), value("to")));
        }
    }
    if lines.is_empty() {
        lines.push("the sets are the same".to_owned());
    }
    let decisions = answer.get("decisions");
    let number = |name: &str| {
        let number = decisions.and_then(|decisions| decisions.get(name)?.as_u64());
        number.unwrap_or(0)
    };
    let rates = decisions.and_then(|decisions| decisions.get("rates")?.as_array());
    for rate in rates.into_iter().flatten() {
        let count = |name: &str| rate.get(name).and_then(Value::as_u64).unwrap_or(0);
        lines.push(format!(
            "{:<18} {} tasks, {} asked, {} refused",
            word(rate, "revision"),
            count("tasks"),
            count("asked"),
            count("refused"),
        ));
    }
    lines.push(format!(
        "{} of {} questions that both were asked were answered differently",
        number("different"),
        number("compared"),
    ));
    let shown = decisions.and_then(|decisions| decisions.get("shown")?.as_array());
    for other in shown.into_iter().flatten() {
        lines.push(change_of_mind(other));
    }
    whole(lines)
}

/// One question that was answered differently.
pub(super) fn change_of_mind(line: &Value) -> String {
    let said = |side: &str| {
        let said = line.get(side).unwrap_or(&Value::Null);
        let whose = ["plugin", "group"].iter();
        match whose.filter_map(|whose| said.get(*whose)?.as_str()).next() {
            Some(name) => format!("{} by {name}", word(said, "verdict")),
            None => word(said, "verdict").to_owned(),
        }
    };
    let place = match line.get("call").and_then(Value::as_str) {
        Some(call) => format!("{} {} {call}", word(line, "taskId"), word(line, "tool")),
        None => format!("{} {}", word(line, "taskId"), word(line, "stage")),
    };
    format!("    {place}: {} -> {}", said("from"), said("to"))
}

/// What is active now.
pub(super) fn changed(answer: &Value) -> String {
    let revision = word(answer, "revision");
    let from = answer.pointer("/change/from").and_then(Value::as_str);
    whole(vec![match (answer.get("changed"), from) {
        (Some(Value::Bool(true)), Some(from)) => {
            format!("{revision} is active, before it was {from}")
        }
        (Some(Value::Bool(true)), None) => format!("{revision} is active"),
        _ => format!("{revision} was active already"),
    }])
}

fn plugins(answer: &Value) -> &[Value] {
    named(answer, "plugins")
}

fn named<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    let lines = answer.get(name).and_then(Value::as_array);
    lines.map_or(&[], Vec::as_slice)
}

pub(super) fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("-")
}

/// Enough of a digest to tell it from others.
pub(super) fn start(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn whole(lines: Vec<String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}
