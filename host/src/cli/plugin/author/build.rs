//! `gatehouse plugin build`: runs the project's own `build.sh` and looks at what came out.
//!
//! How a language is built is written in that script, for the author to read and to change.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::inspect;
use super::subject::component;
use crate::config::Sources;

/// The project's own way to build it.
const SCRIPT: &str = "build.sh";

pub(super) async fn run(
    directory: &Path,
    out: Option<PathBuf>,
    sources: &Sources,
) -> anyhow::Result<bool> {
    let script = directory.join(SCRIPT);
    if !script.is_file() {
        bail!(
            "there is no `{}`: name a project, or start one by `gatehouse plugin new`",
            script.display()
        );
    }
    let directory = directory
        .canonicalize()
        .with_context(|| format!("`{}` cannot be entered", directory.display()))?;
    let out = match out {
        Some(out) => std::path::absolute(out).context("--out")?,
        None => component(&directory),
    };
    let started = Instant::now();
    let status = Command::new("bash")
        .arg(directory.join(SCRIPT))
        .arg(&out)
        .current_dir(&directory)
        .status()
        .await
        .context("bash cannot be started: install it")?;
    if !status.success() {
        bail!("the build failed; what it said is above");
    }
    let summary = inspect::summary(&out, sources)
        .await
        .context("it was built, but a gateway would not take it")?;
    println!("{summary} ({:.1} s)", started.elapsed().as_secs_f64());
    Ok(true)
}
