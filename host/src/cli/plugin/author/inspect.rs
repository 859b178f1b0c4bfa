//! `gatehouse plugin inspect`: what a component is, before anybody gives it a place.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::subject::{self, Opened, told};
use crate::config::Sources;
use crate::wasm::Description;

pub(super) async fn run(file: &Path, json: bool, sources: &Sources) -> anyhow::Result<bool> {
    let mut opened = subject::open(file, None, sources).await?;
    opened.terms.grant_everything(&opened.shape);
    let described = opened.bench.describe(&opened.terms, opened.bytes.clone());
    let description = described.await.map_err(told)?;
    let about = about(&opened, &description);
    if json {
        println!("{about:#}");
    } else {
        print!("{}", shown(&about, &description.settings_schema));
    }
    Ok(true)
}

/// One line for whoever has just built it.
pub(super) async fn summary(file: &Path, sources: &Sources) -> anyhow::Result<String> {
    let mut opened = subject::open(file, None, sources).await?;
    opened.terms.grant_everything(&opened.shape);
    let described = opened.bench.describe(&opened.terms, opened.bytes.clone());
    let description = described.await.map_err(told)?;
    Ok(format!(
        "{} {}, {}, {} bytes: {}",
        description.name,
        description.version,
        opened.terms.world.as_str(),
        opened.bytes.len(),
        opened.file.display()
    ))
}

fn about(opened: &Opened, description: &Description) -> Value {
    let grants: Vec<&str> = opened
        .shape
        .grantable()
        .into_iter()
        .map(|interface| match interface {
            "http" => "http:https://HOST",
            interface => interface,
        })
        .collect();
    let schema = serde_json::from_str(&description.settings_schema);
    json!({
        "name": description.name,
        "version": description.version,
        "summary": description.summary,
        "world": opened.terms.world.as_str(),
        "size": opened.bytes.len(),
        "sha256": hex::encode(Sha256::digest(&opened.bytes)),
        "imports": opened.shape.imports,
        "exports": opened.shape.exports,
        "grants": grants,
        "settingsSchema": schema.unwrap_or_else(|_| Value::String(description.settings_schema.clone())),
    })
}

fn shown(about: &Value, schema: &str) -> String {
    let text = |name: &str| about.get(name).and_then(Value::as_str).unwrap_or("-");
    let list = |name: &str| {
        let items = about.get(name).and_then(Value::as_array);
        let items = items.into_iter().flatten().filter_map(Value::as_str);
        items.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut lines = vec![
        format!("name      {}", text("name")),
        format!("version   {}", text("version")),
        format!("summary   {}", text("summary")),
        format!("world     {}", text("world")),
        format!(
            "size      {} bytes",
            about.get("size").unwrap_or(&Value::Null)
        ),
        format!("sha256    {}", text("sha256")),
    ];
    for (title, name) in [("imports", "imports"), ("exports", "exports")] {
        lines.push(title.to_owned());
        lines.extend(list(name).into_iter().map(|item| format!("  {item}")));
    }
    lines.push(match list("grants") {
        none if none.is_empty() => "grants    none needed".to_owned(),
        grants => format!("grants    {}", grants.join(", ")),
    });
    lines.push("settings".to_owned());
    let schema = match serde_json::from_str::<Value>(schema) {
        Ok(schema) => format!("{schema:#}"),
        Err(_) => format!("no JSON: {schema}"),
    };
    lines.extend(schema.lines().map(|line| format!("  {line}")));
    lines.into_iter().map(|line| line + "\n").collect()
}
