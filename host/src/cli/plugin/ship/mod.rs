//! `gatehouse plugin push`, `pull` and `install`: a plugin on its way from its author to a gateway.
//!
//! Needs no gateway. Goes by this configuration: its registries and passwords, its limits, its manifest.
//! Relies on [`plugin::Shipping`](crate::plugin::Shipping), which reads and loads as a gateway does.

mod install;
mod pull;
mod push;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::author::{cache, told};
use super::settings_of;
use crate::config::{Config, Sources};
use crate::plugin::Shipping;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Publish a plugin in an OCI registry, if a gateway can load it
    Push {
        /// A directory with plugin.toml and the component, or a component
        what: PathBuf,
        /// HOST/REPOSITORY:TAG
        reference: String,
    },
    /// Fetch a plugin from an OCI registry into a directory
    Pull {
        /// HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST
        reference: String,
        /// Where; a directory that does not exist yet or is empty
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Add a plugin to the manifest of this configuration, pinned by its digest
    Install(install::Options),
}

/// Ends with 0 where it was done, or was done before.
pub(super) async fn run(verb: Verb, json: bool, sources: &Sources) -> ExitCode {
    let done = match verb {
        Verb::Push { what, reference } => push::run(&what, &reference, json, sources).await,
        Verb::Pull { reference, out } => pull::run(&reference, &out, json, sources).await,
        Verb::Install(options) => install::run(options, json, sources).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("gatehouse: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

async fn open(sources: &Sources) -> anyhow::Result<(Config, Shipping)> {
    let config = settings_of(sources).await?;
    let shipping = Shipping::open(&config, &cache(sources)).map_err(told)?;
    Ok((config, shipping))
}

/// As a source of a manifest has it.
fn as_source(reference: &str) -> String {
    match reference.starts_with("oci://") {
        true => reference.to_owned(),
        false => format!("oci://{reference}"),
    }
}
