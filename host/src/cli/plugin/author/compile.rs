//! `gatehouse plugin compile`: what a gateway would compile at its start is compiled before, for
//! `plugins.compiled`.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::subject::coded;
use crate::config::{self, Sources};
use crate::plugin::Workbench;
use crate::wasm::Cache;

/// Puts the compiled form of each component into `directory`.
pub(super) async fn run(files: &[PathBuf], directory: &Path) -> anyhow::Result<bool> {
    let mut config = config::load(&Sources::default())
        .map_err(|mistakes| anyhow::anyhow!("the default settings are wrong\n{mistakes}"))?;
    // What is there already is not compiled again.
    config.plugins.compiled = Some(directory.to_owned());
    let place = || format!("{} cannot be written", directory.display());
    fs::create_dir_all(directory).with_context(place)?;
    let scratch = tempfile::tempdir_in(directory).with_context(place)?;
    let bench = Workbench::open(&config.plugins, scratch.path())?;
    let mut digests = BTreeSet::new();
    for file in files {
        let bytes = bench.read(file).map_err(coded)?;
        digests.insert(hex::encode(Sha256::digest(&bytes)));
        let compiled = bench.shape(bytes).await.map_err(coded);
        compiled.with_context(|| file.display().to_string())?;
    }
    for entry in fs::read_dir(Cache::place(scratch.path()))? {
        let entry = entry?;
        // Others than who compiles run it, and nobody changes it.
        fs::set_permissions(entry.path(), Permissions::from_mode(0o644))?;
        fs::rename(entry.path(), directory.join(entry.file_name()))?;
    }
    // To keep them is only a matter of speed to who compiles, so what went wrong there was a warning.
    let kept: Vec<_> = fs::read_dir(directory)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    if let Some(missing) = digests
        .iter()
        .find(|digest| !kept.iter().any(|name| name.starts_with(*digest)))
    {
        bail!(
            "{}: the compiled form of {missing} could not be written",
            directory.display()
        );
    }
    println!("{}: {} components", directory.display(), digests.len());
    Ok(true)
}
