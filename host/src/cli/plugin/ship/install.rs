//! `gatehouse plugin install`: an entry for a plugin at the end of the manifest, or a newer one in its place.
//!
//! What a plugin asks for is shown. What it is given is what the operator says here or wrote before.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, value};

use super::super::Mode;
use super::super::author::{limit, told};
use super::open;
use crate::config::Sources;
use crate::plugin::Parcel;

#[derive(Debug, Args)]
pub(in crate::cli::plugin) struct Options {
    /// As in the manifest: a path, https://…, oci://HOST/REPOSITORY:TAG or bucket:SHA256
    source: String,
    /// Its name in the manifest; by default its author's
    #[arg(long)]
    name: Option<String>,
    /// A grant that it is given, as in the manifest; nothing is given that is not said
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    /// A setting; the value is TOML, or a text
    #[arg(long = "setting", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, toml_edit::Value)>,
    /// A limit as in the manifest: memory=64MiB, time=200ms, output=1MiB
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = limit)]
    limits: Vec<(String, String)>,
    /// Whether its word counts
    #[arg(long)]
    mode: Option<Mode>,
    /// What the component must be; without it a URL is refused
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<String>,
    /// In place of the plugin that has this name; its grants, settings and the rest stay, unless they are said
    #[arg(long)]
    replace: bool,
}

pub(super) async fn run(options: Options, as_json: bool, sources: &Sources) -> anyhow::Result<()> {
    let (config, shipping) = open(sources).await?;
    let shipping = shipping.for_gateway(&config);
    // A link's target is what is changed, not the link.
    let manifest = &config.plugins.manifest;
    let manifest = manifest.canonicalize().unwrap_or_else(|_| manifest.clone());
    let directory = manifest.parent().unwrap_or(Path::new("/"));
    let here = std::env::current_dir().context("the working directory")?;
    let fetched = shipping.fetch(&options.source, &here, options.sha256.as_deref());
    let parcel = fetched.await.map_err(told)?;
    let name = options.name.as_ref().unwrap_or(&parcel.about.name);
    let before = match fs::read_to_string(&manifest) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error).with_context(|| format!("`{}` cannot be read", manifest.display()));
        }
    };
    let source = match &parcel.pinned {
        Some(pinned) => pinned.clone(),
        None => source(&options.source, &here, directory)?,
    };
    let after = match change(&before, name, &source, &parcel, &options)
        .with_context(|| format!("`{}`", manifest.display()))?
    {
        Some(after) => after,
        None => {
            let line = shipping
                .load(&before, directory, name)
                .await
                .map_err(told)?;
            show(name, &parcel, &line, as_json, false);
            return Ok(());
        }
    };
    let line = shipping.load(&after, directory, name).await.map_err(told)?;
    write(&manifest, &before, &after)?;
    show(name, &parcel, &line, as_json, true);
    if !as_json {
        println!(
            "It stands in {}; a running gateway takes it up by itself, as `gatehouse plugin list` shows.",
            manifest.display()
        );
        if manifest.with_extension("lock").exists() {
            println!("The lock file does not have it yet: `gatehouse plugin lock` writes it anew.");
        }
    }
    Ok(())
}

/// The source as the manifest is to have it: paths are relative to it where they are beside it.
fn source(said: &str, here: &Path, directory: &Path) -> anyhow::Result<String> {
    if said.contains("://") || said.starts_with("bucket:") {
        return Ok(said.to_owned());
    }
    let path = here.join(said);
    let path = path.canonicalize().unwrap_or(path);
    let shown = path.strip_prefix(directory).unwrap_or(&path);
    let shown = shown.to_str().context("the source's path is no UTF-8")?;
    Ok(shown.to_owned())
}

/// The manifest with the plugin; none where it has it already.
fn change(
    before: &str,
    name: &str,
    source: &str,
    parcel: &Parcel,
    options: &Options,
) -> anyhow::Result<Option<String>> {
    let mut document: DocumentMut = before.parse().context("is no TOML")?;
    let plugins = document
        .get_mut("plugin")
        .and_then(Item::as_array_of_tables_mut);
    let has_name = |table: &Table| table.get("name").and_then(Item::as_str) == Some(name);
    let found = plugins.and_then(|plugins| plugins.iter_mut().find(|table| has_name(table)));
    let Some(found) = found else {
        let mut table = Table::new();
        table.insert("name", value(name));
        fill(&mut table, source, parcel, options);
        // At its end, as a person would; all that stands there stays as it is, comments too.
        let gap = match before {
            "" => "",
            text if text.ends_with('\n') => "\n",
            _ => "\n\n",
        };
        return Ok(Some(format!("{before}{gap}[[plugin]]\n{table}")));
    };
    if !options.replace {
        let pinned = found.get("sha256").and_then(Item::as_str);
        if pinned.is_some_and(|pinned| pinned.eq_ignore_ascii_case(&parcel.digest)) {
            return Ok(None);
        }
        bail!(
            "has another plugin `{name}`, {}: say `--replace` to put this one in its place, or another `--name`",
            pinned.map_or_else(
                || "which is not pinned".to_owned(),
                |pinned| format!("with the digest {pinned}")
            )
        );
    }
    let (world, now) = (
        found.get("world").and_then(Item::as_str),
        parcel.about.world.as_str(),
    );
    if world.is_some_and(|world| world != now) {
        bail!(
            "has `{name}` as a {} plugin, and this one is {now}: they cannot take each other's place",
            world.unwrap_or_default()
        );
    }
    fill(found, source, parcel, options);
    let after = document.to_string();
    Ok((after != before).then_some(after))
}

fn fill(table: &mut Table, source: &str, parcel: &Parcel, options: &Options) {
    put(table, "world", value(parcel.about.world.as_str()));
    put(table, "source", value(source));
    put(table, "sha256", value(&parcel.digest));
    if let Some(mode) = options.mode {
        put(table, "mode", value(mode.as_str()));
    }
    if !options.grants.is_empty() {
        let grants: toml_edit::Array = options.grants.iter().collect();
        put(table, "grants", value(grants));
    }
    merge(table, "settings", &options.settings);
    let limits = options.limits.iter();
    let limits: Vec<_> = limits
        .map(|(key, limit)| (key.clone(), limit.as_str().into()))
        .collect();
    merge(table, "limits", &limits);
}

/// Sets members of a table within the entry.
fn merge(entry: &mut Table, name: &str, members: &[(String, toml_edit::Value)]) {
    if members.is_empty() {
        return;
    }
    let table = entry
        .entry(name)
        .or_insert_with(|| value(InlineTable::new()));
    if let Some(table) = table.as_table_like_mut() {
        for (key, member) in members {
            put(table, key, value(member.clone()));
        }
    }
}

/// Sets a value and leaves alone what is written around it.
fn put(table: &mut dyn TableLike, key: &str, item: Item) {
    let Some(found) = table.get_mut(key) else {
        table.insert(key, item);
        return;
    };
    let decor = found.as_value().map(|found| found.decor().clone());
    *found = item;
    if let (Some(decor), Some(found)) = (decor, found.as_value_mut()) {
        *found.decor_mut() = decor;
    }
}

/// Replaces the file as a whole, with its owner and mode, if nobody changed it meanwhile.
fn write(manifest: &PathBuf, before: &str, after: &str) -> anyhow::Result<()> {
    let failed = || format!("`{}` cannot be written", manifest.display());
    let directory = manifest.parent().unwrap_or(Path::new("/"));
    let file = tempfile::NamedTempFile::new_in(directory).with_context(failed)?;
    fs::write(file.path(), after).with_context(failed)?;
    match fs::metadata(manifest) {
        Ok(metadata) => {
            fs::set_permissions(file.path(), metadata.permissions()).with_context(failed)?;
            let ours = fs::metadata(file.path()).with_context(failed)?;
            if (ours.uid(), ours.gid()) != (metadata.uid(), metadata.gid()) {
                chown(file.path(), Some(metadata.uid()), Some(metadata.gid()))
                    .with_context(failed)?;
            }
        }
        Err(_) => {
            use std::os::unix::fs::PermissionsExt;
            let readable = fs::Permissions::from_mode(0o644);
            fs::set_permissions(file.path(), readable).with_context(failed)?;
        }
    }
    if fs::read_to_string(manifest).unwrap_or_default() != before {
        bail!(
            "`{}` was changed by somebody else meanwhile: do it again",
            manifest.display()
        );
    }
    file.as_file().sync_all().with_context(failed)?;
    file.persist(manifest).with_context(failed)?;
    Ok(())
}

fn show(name: &str, parcel: &Parcel, line: &Map<String, Value>, as_json: bool, changed: bool) {
    let given: Vec<&str> = line
        .get("grants")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let about = &parcel.about;
    let asks = parcel.asks();
    if as_json {
        let told = json!({
            "name": name,
            "about": about,
            "sha256": parcel.digest,
            "signedBy": parcel.signed_by,
            "asks": asks,
            "grants": given,
            "changed": changed,
        });
        println!("{told:#}");
        return;
    }
    let or_nothing = |words: String| {
        if words.is_empty() {
            "nothing".to_owned()
        } else {
            words
        }
    };
    println!(
        "{name}: {} {}, {}, {}\nsha256    {}\nsigned by {}\nasks      {}\ngiven     {}",
        about.name,
        about.version,
        about.world.as_str(),
        about.contract,
        parcel.digest,
        match &*parcel.signed_by {
            [] => "no key of plugins.signatures".to_owned(),
            names => names.join(", "),
        },
        or_nothing(asks.join(", ")),
        or_nothing(given.join(", ")),
    );
    let missing: Vec<_> = asks
        .iter()
        .filter(|asked| !given.contains(&asked.as_str()))
        .collect();
    for asked in missing {
        println!("not given {asked}: add it by `--grant`, where the plugin shall have it");
    }
    if !about.limits.is_empty() {
        let limits: Vec<_> = about
            .limits
            .iter()
            .map(|(key, limit)| format!("{key}={limit}"))
            .collect();
        println!("does well with --limit {}", limits.join(" --limit "));
    }
    if !changed {
        println!("It is installed already.");
    }
}

fn setting(text: &str) -> Result<(String, toml_edit::Value), String> {
    let (key, text) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| {
            "expected KEY=VALUE, e.g. max_turns=100 or hosts='[\"github.com\"]'".to_owned()
        })?;
    let value = text
        .parse::<toml_edit::Value>()
        .unwrap_or_else(|_| toml_edit::Value::from(text));
    Ok((key.to_owned(), value))
}
