//! `gatehouse plugin verify`: what the manifest of this configuration would give, without a gateway; or
//! beside one, how that differs from what is loaded there.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{Gateway, settings_of, show};
use crate::config::Sources;
use crate::plugin::{Aside, Checked};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only these plugins of the manifest
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// What a gateway has loaded: names with digests.
type Loaded = BTreeMap<String, String>;

/// Ends with 0 where every plugin would be loaded, and where a gateway was named, is loaded there.
pub(super) async fn run(
    options: &Options,
    gateway: Option<Gateway>,
    as_json: bool,
    sources: &Sources,
) -> anyhow::Result<ExitCode> {
    let config = settings_of(sources).await?;
    let loaded = match gateway {
        Some(gateway) => Some(loaded(&gateway).await?),
        None => None,
    };
    let checked = Aside::open(&config)?.check().await;
    let all = checked.map_err(|error| anyhow!("{error}"))?;
    let is_wanted = |name: &String| options.names.is_empty() || options.names.contains(name);
    for name in &options.names {
        if !all.iter().any(|plugin| plugin.name == *name) {
            let known: Vec<_> = all.iter().map(|plugin| &*plugin.name).collect();
            bail!(
                "no plugin is named `{name}`; there are: {}",
                known.join(", ")
            );
        }
    }
    let mut differences = BTreeMap::new();
    if let Some(loaded) = &loaded {
        for plugin in &all {
            if let Some(difference) = difference(plugin, loaded.get(&plugin.name)) {
                differences.insert(plugin.name.clone(), difference);
            }
        }
        for name in loaded.keys() {
            if !all.iter().any(|plugin| plugin.name == *name) {
                differences.insert(
                    name.clone(),
                    "is loaded, and not in the manifest".to_owned(),
                );
            }
        }
        differences.retain(|name, _| is_wanted(name));
    }
    let plugins: Vec<_> = all
        .into_iter()
        .filter(|plugin| is_wanted(&plugin.name))
        .collect();
    if as_json {
        let mut answer = json!({ "plugins": plugins });
        if let (Some(_), Some(answer)) = (&loaded, answer.as_object_mut()) {
            answer.insert("differences".to_owned(), json!(differences));
        }
        println!("{answer:#}");
    } else {
        print!("{}", table(&plugins));
        for (name, difference) in &differences {
            println!("{name}: {difference}");
        }
    }
    let is_right = differences.is_empty() && plugins.iter().all(|plugin| plugin.error.is_none());
    Ok(match is_right {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn loaded(gateway: &Gateway) -> anyhow::Result<Loaded> {
    let answer = gateway.send(gateway.get("/plugins")).await?;
    let plugins = answer.get("plugins").and_then(Value::as_array);
    let active = plugins
        .into_iter()
        .flatten()
        .filter(|plugin| show::word(plugin, "state") == "active");
    let line = |plugin: &Value| {
        let word = |name: &str| show::word(plugin, name).to_owned();
        (word("name"), word("digest"))
    };
    Ok(active.map(line).collect())
}

fn difference(plugin: &Checked, loaded: Option<&String>) -> Option<String> {
    match (&plugin.digest, loaded) {
        (Some(would), Some(is)) if would == is => None,
        (Some(would), Some(is)) => Some(format!("{is} is loaded, {would} would be")),
        (Some(would), None) => Some(format!("is not loaded, {would} would be")),
        (None, Some(is)) => Some(format!("{is} is loaded, the manifest's would not be")),
        (None, None) => None,
    }
}

/// A line for each plugin, and below it what is wrong with it.
fn table(plugins: &[Checked]) -> String {
    let list = |words: &[String]| match words {
        [] => "-".to_owned(),
        words => words.join(","),
    };
    let header = [
        "NAME",
        "STATE",
        "DIGEST",
        "PINNED",
        "LOCKED",
        "SIGNED BY",
        "ASKS",
        "GRANTS",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    let yes = |truth: bool| if truth { "yes" } else { "no" }.to_owned();
    rows.extend(plugins.iter().map(|plugin| {
        [
            plugin.name.clone(),
            if plugin.error.is_none() {
                "loads"
            } else {
                "fails"
            }
            .to_owned(),
            plugin.digest.as_deref().map_or("-", show::start).to_owned(),
            yes(plugin.pinned),
            yes(plugin.locked),
            list(&plugin.signed_by),
            list(&plugin.asks),
            list(&plugin.grants),
        ]
    }));
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let wrong = std::iter::once(None).chain(plugins.iter().map(Some));
    for (row, plugin) in rows.iter().zip(wrong) {
        let cells = row.iter().zip(widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
        if let Some(Checked {
            code: Some(code),
            error: Some(error),
            ..
        }) = plugin
        {
            text.push_str(&format!("    {code}: {error}\n"));
        }
    }
    text
}
