//! `gatehouse compile-component`: not for people. `wasm::Compiler` says what it does.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::wasm::{COMPILE_COMMAND, CompileBounds, compile_apart};

/// Runs the command if it is ours. `args` are those of the process, its name included. To be called before
/// a runtime is started, so that what it may use is for compiling.
pub(super) fn dispatch(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    (args.next()? == COMPILE_COMMAND).then(|| run(args).unwrap_or_else(usage))
}

fn run(args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.filter_map(|argument| argument.into_string().ok());
    let parent = args.next()?.parse().ok()?;
    let bounds = CompileBounds {
        memory: args.next()?.parse().ok()?,
        seconds: args.next()?.parse().ok()?,
    };
    Some(compile_apart(parent, bounds))
}

fn usage() -> ExitCode {
    eprintln!("gatehouse {COMPILE_COMMAND}: this is what the gateway starts to compile a plugin");
    ExitCode::from(super::EXIT_USAGE)
}
