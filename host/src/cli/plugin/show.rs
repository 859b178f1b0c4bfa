//! Answers about plugins as an operator reads them.

use anyhow::Context;
use serde_json::Value;

/// A line for each plugin, and below it what is wrong with it.
pub(super) fn list(answer: &Value) -> String {
    let mut lines = vec![format!("revision {}", word(answer, "revision"))];
    for plugin in plugins(answer) {
        let number = |name: &str| plugin.get(name).and_then(Value::as_u64).unwrap_or(0);
        lines.push(format!(
            "{:<20} {:<16} {:<8} {:<8} {:<12} {} calls, {} denials, {} traps",
            word(plugin, "name"),
            word(plugin, "world"),
            word(plugin, "mode"),
            word(plugin, "state"),
            start(word(plugin, "digest")),
            number("calls"),
            number("denials"),
            number("traps"),
        ));
        if let Some(error) = plugin.get("error").and_then(Value::as_str) {
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

/// One plugin of the answer.
pub(super) fn find<'a>(answer: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let known = || {
        let names = plugins(answer).iter().map(|plugin| word(plugin, "name"));
        names.collect::<Vec<_>>().join(", ")
    };
    plugins(answer)
        .iter()
        .find(|plugin| word(plugin, "name") == name)
        .with_context(|| format!("no plugin is named `{name}`; there are: {}", known()))
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
    let plugins = answer.get("plugins").and_then(Value::as_array);
    plugins.map_or(&[], Vec::as_slice)
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("-")
}

/// Enough of a digest to tell it from others.
fn start(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn whole(lines: Vec<String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}
