//! The command line: one file per command.
//!
//! Reads the process's arguments and environment, loads the configuration as a whole, starts the
//! logs, and hands over. Everything else in the crate is given what it needs.

mod approval;
mod compile_component;
mod config;
mod doctor;
mod git_ssh;
mod guard;
mod key;
mod plugin;
mod run;
mod run_job;
mod serve;
mod shown;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Sources};
use crate::{isolation, telemetry};

/// Threads that still work when a command is done have so long.
const LAST_THREADS: Duration = Duration::from_millis(300);

/// The command line or the configuration is wrong (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;

#[derive(Debug, Parser)]
#[command(
    name = "gatehouse",
    version,
    about = "A gateway that runs coding-agent tasks"
)]
struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Command,
}

/// Where settings come from, on every command.
#[derive(Debug, Args)]
struct SettingsArgs {
    /// A TOML file with the settings that differ from the defaults
    #[arg(long, global = true, env = "GATEHOUSE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, e.g. --set agent.idle_timeout=5m; over file and environment
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Same as --set data_dir=DIR
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve {
        /// Same as --set server.listen=ADDRESS; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Send a request to a running gateway and show what happens
    Run(run::Options),
    /// See and change the plugins of a running gateway
    Plugin(plugin::Options),
    /// See and decide the tool calls that wait for a person
    Approval(approval::Options),
    /// Make keys for callers
    Key(key::Options),
    /// Run one task; the gateway starts this with TASK_ID set
    RunJob {
        /// The task
        #[arg(long, env = "TASK_ID")]
        task_id: String,
        #[command(flatten)]
        platform: run_job::Platform,
    },
    /// Check this machine and say what to do about what is missing
    Doctor {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Show every setting in force and where it came from
    Config {
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

/// Everything `main` does.
pub fn main() -> ExitCode {
    if let Err(error) = isolation::harden_self() {
        eprintln!("gatehouse: this process cannot be closed to others: {error}");
        return ExitCode::FAILURE;
    }
    // What stands between a job and its agent wants no configuration, no logs, no runtime.
    if let Some(code) = guard::dispatch(std::env::args_os()) {
        return code;
    }
    if let Some(code) = compile_component::dispatch(std::env::args_os()) {
        return code;
    }
    if let Some(code) = git_ssh::dispatch(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    let sources = cli.settings.into_sources();
    match cli.command {
        Command::Config { json } => config::run(&sources, json),
        Command::Doctor { json } => with_runtime(doctor::run(&sources, json)),
        Command::Key(options) => key::run(options),
        Command::Run(options) => with_runtime(run::run(options, &sources.environment)),
        Command::Plugin(options) => with_runtime(plugin::run(options, &sources)),
        Command::Approval(options) => with_runtime(approval::run(options, &sources)),
        Command::Serve { listen } => {
            let mut sources = sources;
            sources
                .flags
                .extend(listen.map(|address| ("server.listen".to_owned(), address)));
            configured(&sources, |config| {
                // While there is one thread: the others keep their user.
                if let Err(failure) = serve::give_up_root(&config) {
                    eprintln!("gatehouse: {failure:#}");
                    return ExitCode::FAILURE;
                }
                with_runtime(serve::run(config, &sources))
            })
        }
        Command::RunJob { task_id, platform } => configured(&sources, |config| {
            with_runtime(run_job::run(config, &task_id, platform))
        }),
    }
}

/// Loads the settings and starts the logs before `run`; lists every mistake and runs nothing where
/// there is one.
fn configured(sources: &Sources, run: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    let config = match crate::config::load(sources) {
        Ok(config) => config,
        Err(mistakes) => {
            eprintln!("gatehouse: the configuration is wrong; nothing was started.\n{mistakes}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Err(error) = telemetry::init(&config.log) {
        eprintln!("gatehouse: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    run(config)
}

fn with_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // Whatever a thread still waits for, a hanging disk or a name server, is waited for by nobody.
            runtime.shutdown_timeout(LAST_THREADS);
            code
        }
        Err(error) => {
            eprintln!("gatehouse: the runtime cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

impl SettingsArgs {
    fn into_sources(self) -> Sources {
        let mut flags: BTreeMap<String, String> = self.set.into_iter().collect();
        if let Some(directory) = self.data_dir {
            flags.insert("data_dir".to_owned(), directory);
        }
        // Names and values that are no UTF-8 configure nothing of ours.
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Sources {
            file: self.config,
            environment: environment.collect(),
            flags,
        }
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, e.g. agent.idle_timeout=5m".to_owned()),
    }
}
