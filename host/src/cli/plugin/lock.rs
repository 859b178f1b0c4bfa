//! `gatehouse plugin lock`: writes down which bytes the plugins of the manifest are.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::settings_of;
use crate::config::Sources;
use crate::plugin::Aside;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only compare; ends with 1 where the lock file says something else
    #[arg(long)]
    check: bool,
}

/// Ends with 0 where the lock file is as it should be, or is now.
pub(super) async fn run(options: &Options, sources: &Sources) -> anyhow::Result<ExitCode> {
    let config = settings_of(sources).await?;
    let locking = Aside::open(&config)?
        .lock()
        .await
        .map_err(|mistakes| anyhow!("what cannot be loaded cannot be locked\n{mistakes}"))?;
    for change in &locking.changes {
        println!("{change}");
    }
    let path = locking.path.display();
    if locking.changes.is_empty() {
        println!("{path} is as it should be");
        return Ok(ExitCode::SUCCESS);
    }
    if options.check {
        println!("{path} does not say what the manifest gives");
        return Ok(ExitCode::FAILURE);
    }
    locking
        .write()
        .with_context(|| format!("{path} cannot be written"))?;
    println!("{path} is written");
    Ok(ExitCode::SUCCESS)
}
