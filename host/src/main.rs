//! `gatehouse`: command line, configuration, run.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatehouse::cli::main()
}
