//! `gatehouse doctor`: whether a gateway could work here, and what to do where it could not.
//!
//! Looks and tries, and activates nothing: plugins are loaded into a bucket that is thrown away. What
//! stays is what a gateway would make as well: the data directory, the place for workspaces, and
//! plugins in compiled form.

mod checks;
mod git;
mod report;
mod upstream;

use std::process::ExitCode;

use crate::config::{Sources, job_environment, load};
use report::{Finding, Report};

/// The release of the Claude Code CLI that the agent's protocol was taken from and is tested with.
pub(super) const CLI_VERSION: &str = "2.1.330";

/// Runs every check, prints one line each to stdout (or one JSON object), and exits with 0 if none
/// failed, else with 1. Wrong settings are findings too, and leave nothing else to check.
pub(super) async fn run(sources: &Sources, as_json: bool) -> ExitCode {
    let report = match load(sources) {
        Ok(config) => {
            let environment = job_environment(sources, &config);
            Report(checks::all(config, &environment).await)
        }
        Err(mistakes) => Report(
            mistakes
                .0
                .into_iter()
                .map(|mistake| {
                    Finding::fail(
                        "settings",
                        mistake,
                        "mend the setting; `gatehouse config` lists them",
                    )
                })
                .collect(),
        ),
    };
    report.print(as_json);
    if report.healthy() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
