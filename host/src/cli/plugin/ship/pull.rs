//! `gatehouse plugin pull`.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;

use super::super::author::{coded, told};
use super::{as_source, open};
use crate::config::Sources;

pub(super) async fn run(
    reference: &str,
    out: &Path,
    as_json: bool,
    sources: &Sources,
) -> anyhow::Result<()> {
    let (_, shipping) = open(sources).await?;
    let source = as_source(reference);
    let fetched = shipping.fetch(&source, Path::new("/"), None);
    let mut parcel = fetched.await.map_err(told)?;
    // It is under the name here that stands for it where nothing is said.
    parcel.about.component = None;
    let text = parcel.about.to_toml().map_err(coded)?;
    fs::create_dir_all(out).with_context(|| format!("`{}` cannot be made", out.display()))?;
    write(&out.join("plugin.wasm"), &parcel.bytes)?;
    write(&out.join("plugin.toml"), text.as_bytes())?;
    let (about, source) = (&parcel.about, parcel.pinned.unwrap_or_default());
    if as_json {
        let told = json!({
            "name": about.name,
            "version": about.version,
            "source": source,
            "sha256": parcel.digest,
            "directory": out,
        });
        println!("{told:#}");
    } else {
        println!(
            "{} {} is in {}\nsource    {source}\nsha256    {}",
            about.name,
            about.version,
            out.display(),
            parcel.digest
        );
    }
    Ok(())
}

/// Writes a file, unless it is there; another one is not written over.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    match fs::read(path) {
        Ok(found) if found == content => Ok(()),
        Ok(_) => bail!(
            "`{}` is there with other content, and nothing of yours shall be written over: name another directory",
            path.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::write(path, content)
            .with_context(|| format!("`{}` cannot be written", path.display())),
        Err(error) => Err(error).with_context(|| format!("`{}` cannot be read", path.display())),
    }
}
