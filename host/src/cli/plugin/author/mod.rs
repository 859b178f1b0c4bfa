//! `gatehouse plugin new`, `build`, `compile`, `inspect`, `run`, `test` and `bench`: what an author needs, from
//! nothing to a tested component.
//!
//! Needs no gateway, no configuration and no key; components are loaded and limited as a gateway with
//! the default settings would. Relies on [`plugin::Workbench`](crate::plugin::Workbench) for that.

mod bench;
mod build;
mod compile;
mod inspect;
mod junit;
mod lines;
mod new;
mod run;
mod subject;
mod templates;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::config::Sources;
use subject::Subject;
pub(super) use subject::{cache, coded, limit, told};
use templates::{Language, TargetWorld};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Start a plugin: a project that builds and passes its first cases
    New {
        /// Where; a directory that does not exist yet or is empty
        directory: PathBuf,
        /// What it shall judge or do
        #[arg(long)]
        world: TargetWorld,
        /// What it is written in
        #[arg(long)]
        lang: Language,
        /// Its name; by default the directory's
        #[arg(long)]
        name: Option<String>,
    },
    /// Build a project into a component, by its own `build.sh`
    Build {
        /// The project
        #[arg(default_value = ".")]
        directory: PathBuf,
        /// The component; by default `plugin.wasm` in the project
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Compile components ahead, for `plugins.compiled` of gateways and jobs that start on an empty disk
    Compile {
        /// The components
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where the compiled forms go
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
    },
    /// What a component is: world, imports, grants, settings, digest
    Inspect {
        /// The component, or a project with one
        file: PathBuf,
    },
    /// Ask a component once
    Run {
        #[command(flatten)]
        subject: Subject,
        /// A case: its folder, or one JSON file with a member for each file of such a folder
        input: PathBuf,
    },
    /// Run a folder of cases and compare what comes out with what was expected
    Test {
        #[command(flatten)]
        subject: Subject,
        /// The folder; by default `cases` beside the component
        #[arg(long, value_name = "DIR")]
        cases: Option<PathBuf>,
        /// Only cases whose name contains this
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Write a report for CI
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// How long a call takes: each on a fresh instance, as in a gateway
    Bench {
        #[command(flatten)]
        subject: Subject,
        /// As for `run`
        input: PathBuf,
        /// Calls that are measured
        #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        number: u32,
    },
}

/// Ends with 0 where everything is as it should be: the component could be built and loaded, it
/// answered, every case came out as expected.
pub(super) async fn run(verb: Verb, json: bool, sources: &Sources) -> ExitCode {
    let done = match verb {
        Verb::New {
            directory,
            world,
            lang,
            name,
        } => new::run(&directory, name, world, lang),
        Verb::Build { directory, out } => build::run(&directory, out, sources).await,
        Verb::Compile { files, into } => compile::run(&files, &into).await,
        Verb::Inspect { file } => inspect::run(&file, json, sources).await,
        Verb::Run { subject, input } => run::run(&subject, &input, json, sources).await,
        Verb::Test {
            subject,
            cases,
            only,
            junit,
        } => {
            let wanted = test::Wanted { cases, only, junit };
            test::run(&subject, &wanted, json, sources).await
        }
        Verb::Bench {
            subject,
            input,
            number,
        } => bench::run(&subject, &input, number, json, sources).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("gatehouse: {failure:#}");
            ExitCode::FAILURE
        }
    }
}
